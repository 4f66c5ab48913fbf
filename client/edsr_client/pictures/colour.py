"""What the numbers of a picture mean where no ICC profile says it: primaries and a tone curve; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .icc_profile import profile

# ISO/IEC 23091-2 (ITU-T H.273): x and y of white, red, green, blue.
D65 = (0.3127, 0.3290)
BT709 = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
SMPTE170M = (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)
UNSPECIFIED = 2
PRIMARIES = {
    1: BT709,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: SMPTE170M,
    7: SMPTE170M,
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
# From numbers to light, as parameters of ICC's parametric curves.
SRGB = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
OF_BT709 = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
OF_SMPTE240M = (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912)
CURVES: dict[int, tuple[float, ...]] = dict.fromkeys((1, 6, 11, 12, 14, 15), OF_BT709)
CURVES |= {4: (2.2,), 5: (2.8,), 7: OF_SMPTE240M, 8: (1.0,), 13: SRGB, 17: (2.6,)}
HDR = {16: "PQ", 18: "HLG"}
# The gamma that stands for sRGB's curve in PNG; between these it is meant.
USUAL_GAMMA = (2.15, 2.25)
TOLERANCE = 0.002


@dataclass(frozen=True)
class Colour:
    """What the numbers mean.

    Attributes:
        primaries: x and y of white, red, green and blue.
        curve: from numbers to light, as `icc_profile.profile` takes it.
        words: the same for people.
        chunks: as it stood in a PNG file, (name, content), which PNG files keep.
        is_clear: whether primaries and curve say all of it; else only the chunks do.
    """

    primaries: tuple[float, ...] = BT709
    curve: tuple[float, ...] = SRGB
    words: str = "sRGB"
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    is_clear: bool = True

    @property
    def is_srgb(self) -> bool:
        """Whether it is what viewers assume where nothing is said."""
        same = all(abs(a - b) <= TOLERANCE for a, b in zip(self.primaries, BT709, strict=True))
        is_usual = len(self.curve) == 1 and USUAL_GAMMA[0] <= self.curve[0] <= USUAL_GAMMA[1]
        return same and (self.curve == SRGB or is_usual)

    def icc(self, grey: bool) -> bytes | None:
        """A profile that says the same; None where it is not needed, or cannot be made."""
        if self.is_srgb or (grey and self.curve == SRGB):
            return None
        try:
            return profile(self.primaries, self.curve, self.words, grey=grey)
        except ValueError:
            return None


def of_numbers(primaries: int, transfer: int) -> Colour | None:
    """The meaning of two numbers of ISO/IEC 23091-2, where nothing said is sRGB; None if it cannot be kept.

    Args:
        primaries, transfer: ColourPrimaries, TransferCharacteristics; not HDR.
    """
    if primaries in (0, UNSPECIFIED):
        primaries = 1
    if transfer in (0, UNSPECIFIED):
        transfer = 13
    if primaries not in PRIMARIES or transfer not in CURVES:
        return None
    words = "sRGB" if (primaries, transfer) == (1, 13) else f"primaries {primaries}, transfer {transfer} of H.273"
    return Colour(PRIMARIES[primaries], CURVES[transfer], words)


def of_gamma(gamma: float, primaries: Sequence[float] | None, where: str) -> Colour:
    """The meaning of a power law: light = number ** gamma."""
    words = f"gamma {gamma:.4g}{' and primaries' if primaries else ''} of {where}"
    return Colour(tuple(primaries) if primaries else BT709, (gamma,), words)
