"""What the tags of a TIFF file say of its pixels, where decoders differ or look away (TIFF 6.0, section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 258, 259, 262, 266
SAMPLES_PER_PIXEL, PLANAR, PREDICTOR, COLOUR_MAP, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = (
    277,
    284,
    317,
    320,
    332,
    338,
    339,
)
NUMBER_OF_INKS, TILE_WIDTH = 334, 322
YCBCR_MATRIX, SUBSAMPLING, REFERENCE_LEVELS = 529, 530, 532
UNSAID, WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = -1, 0, 1, 2, 3, 5, 6, 8
GREYS = (WHITE_IS_ZERO, BLACK_IS_ZERO)
UNSPECIFIED, PREMULTIPLIED, STRAIGHT = 0, 1, 2
NO_COMPRESSION, LZW, OLD_JPEG, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 6, 7, 8, 32946, 32773
LZMA, ZSTD, WEBP = 34925, 50000, 50001
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}
NAMES = {WHITE_IS_ZERO: "grey", BLACK_IS_ZERO: "grey", RGB: "RGB", PALETTE: "palette", CMYK: "CMYK", YCBCR: "YCbCr"}
NAMES |= {LAB: "Lab", 4: "mask", 9: "ICC Lab", 10: "ITU Lab", 32803: "raw sensor", 32844: "LogL", 32845: "LogLuv"}
NAMES |= {34892: "linear raw", UNSAID: "colourless (no PhotometricInterpretation)"}
MIXED, INTEGERS, SIGNED, FLOATS, UNDEFINED = 0, 1, 2, 3, 4
FORMATS = {SIGNED: "signed ", FLOATS: "floating-point ", 5: "complex ", 6: "complex "}
FAX = (2, 3, 4)
# As fractions: nothing, or what is meant then (TIFF 6.0, section 21).
USUAL_MATRICES = ((), (299, 1000, 587, 1000, 114, 1000))
USUAL_LEVELS = ((), (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1))
# By libtiff in Pillow, as one plane of numbers: see tiff_samples.py.
CODECS = (NO_COMPRESSION, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD)
WITH_PREDICTOR = (LZW, DEFLATE, OLD_DEFLATE, LZMA, ZSTD)
COMPRESSIONS = {OLD_JPEG: "old JPEG", JPEG: "JPEG", LZMA: "LZMA", ZSTD: "Zstandard", WEBP: "WebP", 34712: "JPEG 2000"}
COMPRESSIONS |= {33003: "JPEG 2000", 33005: "JPEG 2000", 34887: "LERC", 50002: "JPEG XL", 52546: "JPEG XL"}
COMPRESSIONS |= dict.fromkeys(FAX, "fax codes")
PREDICTABLE = ((2, 8), (2, 16))
MOST_PACKED_BITS = 16

Tags = Mapping[int, Any]


@dataclass(frozen=True)
class Kind:
    """How the pixels of one page are stored.

    Attributes:
        photometric: UNSAID where the file does not say.
        bits: of every sample.
        form: INTEGERS, SIGNED, FLOATS, or another number of SampleFormat.
        samples: of a pixel, extra ones included.
        extras: what they are.
        is_planar, is_tiled: planes one after the other; tiles, not strips.
        compression, predictor, fill_order: numbers of TIFF.
        inks: InkSet and NumberOfInks.
        subsampling: of YCbCr; () where the file does not say, and decoders assume different ones.
        has_own_levels: whether YCbCr has a matrix, or levels of black and white, of its own.
    """

    photometric: int
    bits: tuple[int, ...]
    form: int
    samples: int
    extras: tuple[int, ...]
    is_planar: bool
    is_tiled: bool
    compression: int
    predictor: int
    fill_order: int
    inks: tuple[int, int]
    subsampling: tuple[int, ...]
    has_own_levels: bool

    @property
    def name(self) -> str:
        """In words, for messages: "a signed 16-bit grey TIFF"."""
        depth = "-, ".join(str(bits) for bits in self.bits[:4]) if len(set(self.bits)) > 1 else str(self.bits[0])
        what = NAMES.get(self.photometric, f"PhotometricInterpretation {self.photometric}")
        if self.photometric == CMYK and not self.is_cmyk:
            what = "other inks than CMYK"
        planar = "planar " if self.is_planar else ""
        extras = len(self.extras) or max(0, self.samples - self.colours)
        more = f" with {extras} further channel{'s' if extras > 1 else ''}" if extras else ""
        by = COMPRESSIONS.get(self.compression, f"method {self.compression}")
        packed = "" if self.compression in CODECS and self.compression not in COMPRESSIONS else f", compressed by {by}"
        if self.photometric == YCBCR and self.compression not in (OLD_JPEG, JPEG):
            size = "x".join(map(str, self.subsampling))
            more = f" of {size} subsampling{more}" if size else f" that does not say its subsampling{more}"
        form = FORMATS.get(self.form, "")
        article = "an" if depth[0] == "8" and not form else "a"
        return f"{article} {form}{depth}-bit {planar}{what} TIFF{more}{packed}"

    @property
    def depth(self) -> int:
        """Bits of a sample; 0 if they differ."""
        return self.bits[0] if len(set(self.bits)) == 1 else 0

    @property
    def colours(self) -> int:
        """Samples of a pixel that are colour."""
        return COLOURS.get(self.photometric, self.samples)

    @property
    def is_cmyk(self) -> bool:
        """Whether these are the four inks, and no others."""
        return self.photometric == CMYK and self.inks == (1, 4)

    @property
    def alpha(self) -> int | None:
        """Index of the sample that is transparency."""
        for index, extra in enumerate(self.extras):
            if extra in (PREMULTIPLIED, STRAIGHT):
                return self.colours + index
        # Without the tag decoders take the first one for alpha.
        return self.colours if not self.extras and self.samples > self.colours else None

    @property
    def is_premultiplied(self) -> bool:
        """Whether colour stands multiplied by alpha."""
        return self.alpha is not None and self.extras[self.alpha - self.colours :][:1] == (PREMULTIPLIED,)

    @property
    def unknown_channels(self) -> int:
        """Channels that are neither colour nor transparency: the file does not say what they are."""
        return max(0, self.samples - self.colours - (self.alpha is not None))

    @property
    def is_unsigned(self) -> bool:
        """Whether the samples are whole numbers from 0, all of one size of up to 16 bits."""
        return self.form in (INTEGERS, UNDEFINED) and 0 < self.depth <= MOST_PACKED_BITS

    @property
    def is_for_pillow(self) -> bool:
        """Whether Pillow reads it, and rightly."""
        if not self.is_unsigned or (self.is_planar and self.samples > 1) or not self._has_codec_of_pillow:
            return False
        if self.photometric in (*GREYS, PALETTE) and self.samples == 1:
            return not self.is_planar and self.depth in (1, 2, 4, 8)
        usual = {BLACK_IS_ZERO: (2,), RGB: (3, 4), CMYK: (4,), YCBCR: (3,), LAB: (3,)}
        if self.depth != 8 or self.fill_order != 1 or self.samples not in usual.get(self.photometric, ()):
            return False
        if self.photometric == BLACK_IS_ZERO:  # Pillow takes premultiplied grey for straight
            return self.compression == JPEG and not self.is_premultiplied
        if self.photometric == YCBCR and self.compression not in (OLD_JPEG, JPEG):
            return self._is_clear_ycbcr
        if self.photometric == LAB:
            return self.compression != JPEG
        return self.photometric != CMYK or self.is_cmyk

    @property
    def _is_clear_ycbcr(self) -> bool:
        """Uncompressed it is not libtiff that reads it, and then only the plain kind is read rightly."""
        is_plain = self.subsampling == (1, 1) and not self.has_own_levels
        return bool(self.subsampling) and self.predictor == 1 and (self.compression != NO_COMPRESSION or is_plain)

    @property
    def _has_codec_of_pillow(self) -> bool:
        fax = self.compression in FAX and self.depth == 1
        jpeg = self.compression == JPEG and self.depth == 8 and self.photometric != PALETTE
        jpeg = jpeg or (self.compression == OLD_JPEG and self.photometric in (YCBCR, RGB))
        return self.compression in CODECS or fax or jpeg

    @property
    def is_for_samples(self) -> bool:
        """Whether tiff_samples.py reads it."""
        if not self.is_unsigned or self.photometric not in (*GREYS, RGB, PALETTE, CMYK):
            return False
        if self.samples < self.colours or not self._has_codec_for_samples:
            return False
        if self.photometric == PALETTE:
            return not self.is_premultiplied
        if self.photometric == CMYK:
            return self.depth in (8, 16) and self.is_cmyk and not self.is_premultiplied
        return self.photometric != WHITE_IS_ZERO or not self.is_premultiplied

    @property
    def _has_codec_for_samples(self) -> bool:
        if self.compression == JPEG:
            return (
                self.depth == 8
                and self.fill_order == 1
                and (self.is_planar or self.samples == 1)
                and self.photometric != PALETTE
            )
        has_predictor = self.predictor != 1 and self.compression in WITH_PREDICTOR
        return self.compression in CODECS and not (has_predictor and (self.predictor, self.depth) not in PREDICTABLE)

    def goes_in_bands(self, more_codecs: tuple[int, ...] = ()) -> bool:
        """Whether libvips reads it row by row, and rightly.

        Args:
            more_codecs: compressions that it knows beside the usual ones.
        """
        if not self.is_unsigned or self.fill_order != 1 or self.predictor not in (1, 2):
            return False
        is_first = self.alpha in (None, self.colours)
        if self.photometric == PALETTE:
            fits = self.samples == 1 and self.depth in (1, 2, 4, 8)
        elif self.photometric in GREYS:
            fits = self.depth in (8, 16) or (self.depth in (1, 2, 4) and self.samples == 1)
            fits = fits and not self.is_planar and not (self.photometric == WHITE_IS_ZERO and self.samples > 1)
        else:
            fits = self.photometric == RGB and self.depth in (8, 16)
            fits = fits or (self.photometric == YCBCR and self.compression == JPEG and not self.is_planar)
        if self.compression == JPEG:
            fits = fits and self.samples == self.colours and self.depth == 8 and self.photometric != PALETTE
        elif self.compression in FAX:
            fits = fits and self.depth == 1
        elif self.compression not in (NO_COMPRESSION, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, *more_codecs):
            return False
        return fits and is_first and not (self.is_planar and self.is_tiled)


def kind_of(tags: Tags) -> Kind:
    """How the pixels of a page are stored, by its tags as `tiff_pages.Page` or Pillow have them."""
    samples = _first(tags, SAMPLES_PER_PIXEL, len(_all(tags, BITS_PER_SAMPLE)) or 1)
    return Kind(
        photometric=_first(tags, PHOTOMETRIC, UNSAID),
        bits=_all(tags, BITS_PER_SAMPLE) or (1,),
        form=_first(tags, SAMPLE_FORMAT, INTEGERS) if len(set(_all(tags, SAMPLE_FORMAT))) < 2 else MIXED,
        samples=samples,
        extras=_all(tags, EXTRA_SAMPLES)[:samples],
        is_planar=_first(tags, PLANAR, 1) == 2,
        is_tiled=TILE_WIDTH in tags,
        compression=_first(tags, COMPRESSION, NO_COMPRESSION),
        predictor=_first(tags, PREDICTOR, 1),
        fill_order=_first(tags, FILL_ORDER, 1),
        inks=(_first(tags, INK_SET, 1), _first(tags, NUMBER_OF_INKS, 4)),
        subsampling=_all(tags, SUBSAMPLING),
        has_own_levels=_all(tags, YCBCR_MATRIX) not in USUAL_MATRICES
        or _all(tags, REFERENCE_LEVELS) not in USUAL_LEVELS,
    )


def _all(tags: Tags, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return tuple(int(one) for one in value) if isinstance(value, tuple | list | bytes) else (int(value),)


def _first(tags: Tags, tag: int, default: int) -> int:
    return (_all(tags, tag) or (default,))[0]
