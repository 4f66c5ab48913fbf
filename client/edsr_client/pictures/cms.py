"""Colours by ICC profiles, through LittleCMS."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from .alpha import Array
from .metadata import Metadata

if TYPE_CHECKING:
    from PIL import Image


def to_srgb(frame: Array, icc: bytes) -> Array:
    """The same colours as numbers of sRGB.

    Args:
        frame: uint8 [H, W] or [H, W, C], C of 1 to 4.
        icc: profile of its numbers: grey up to two channels, else RGB.
    """
    from PIL import Image, ImageCms

    channels = 1 if frame.ndim == 2 else frame.shape[2]
    stacked = frame.reshape(*frame.shape[:2], channels)
    colours = 1 if channels < 3 else 3
    source = Image.fromarray(np.ascontiguousarray(stacked[..., 0] if colours == 1 else stacked[..., :3]))
    converted = ImageCms.profileToProfile(
        source,
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    rgb = np.asarray(converted)[..., :colours]
    return np.concatenate([rgb, stacked[..., colours:]], axis=2).reshape(frame.shape)


def cmyk_or_lab_to_srgb(image: Image.Image, metadata: Metadata, notes: list[str]) -> Image.Image:
    """Four inks, by the profile in the file, or Lab as RGB; relative colorimetric, with black point compensation.

    Args:
        image: of mode CMYK or LAB.
        metadata: its profile is used.
        notes: are added to.
    """
    from PIL import ImageCms

    lab = image.mode == "LAB"
    srgb = ImageCms.createProfile("sRGB")
    try:
        if lab:
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif metadata.icc and metadata.icc_space == "CMYK":
            source = ImageCms.ImageCmsProfile(io.BytesIO(metadata.icc))
        else:
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(
            image,
            source,
            srgb,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if converted is not None:
            return converted
    except (ImageCms.PyCMSError, OSError):
        if lab:
            raise
    notes.append("the CMYK profile cannot be used; colours are approximate")
    return image.convert("RGB")
