"""How strongly a JPEG file is compressed: by its tables, whoever has written them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edsr_client.model_choice import CROSSING_QUALITY
from edsr_client.pictures.decode import decode
from edsr_client.pictures.jpeg_quality import jpeg_quality, quality_of_table, scaled
from PIL import Image

NOISE = np.random.default_rng(3).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def opened(mode: str = "RGB", **options: Any) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(file, "JPEG", **options)
    return Image.open(file)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_quality_is_read_back_from_the_tables_of_libjpeg(mode: str) -> None:
    assert [jpeg_quality(opened(mode, quality=quality)) for quality in range(1, 101)] == list(range(1, 101))


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"progressive": True}, {"optimize": True}, {"keep_rgb": True}])
def test_other_ways_to_write_a_file_change_nothing(options: dict[str, Any]) -> None:
    assert jpeg_quality(opened(quality=61, **options)) == 61


def test_the_table_of_the_luma_counts_not_that_of_the_chroma() -> None:
    luma, chroma = list(scaled(40)), list(scaled(90))
    assert jpeg_quality(opened(qtables=[luma, chroma])) == 40
    assert jpeg_quality(opened(qtables=[chroma, luma])) == 90


@pytest.mark.parametrize(
    ("table", "least", "most"),
    [
        # What Photoshop writes for its qualities 12 and 5, row by row: no scaling of libjpeg's table.
        ([1] * 20 + [2] * 30 + [3] * 14, 93, 99),
        ([12, 8, 8, 13, 20, 31, 42, 50] * 8, 50, 85),
        ([8] * 64, 80, 95),
        ([0] * 64, 100, 100),
        ([65_535] * 64, 1, 1),
    ],
)
def test_odd_tables_get_the_nearest_quality(table: list[int], least: int, most: int) -> None:
    assert least <= quality_of_table(table) <= most


def test_coarser_tables_are_never_called_better() -> None:
    found = [quality_of_table([step] * 64) for step in range(1, 256)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 100


def test_only_a_jpeg_file_has_a_quality() -> None:
    for format_ in ("PNG", "WEBP", "TIFF", "BMP"):
        file = io.BytesIO()
        Image.fromarray(NOISE).save(file, format_)
        assert decode(file.getvalue(), "a").jpeg_quality is None
    jpeg = io.BytesIO()
    Image.fromarray(NOISE).save(jpeg, "JPEG", quality=44)
    assert decode(jpeg.getvalue(), "a").jpeg_quality == 44


def test_the_threshold_is_where_the_measured_models_cross(root: Path) -> None:
    found = json.loads((root / "models" / "training" / "crossing.json").read_text("utf-8"))
    assert found["crossing"] == CROSSING_QUALITY
    for row in found["by_quality"]:
        is_photo_better = row["photo_gain_db"] > row["clean_gain_db"]
        assert is_photo_better == (row["quality"] < CROSSING_QUALITY)
    assert {CROSSING_QUALITY - 1, CROSSING_QUALITY} <= {row["quality"] for row in found["by_quality"]}
