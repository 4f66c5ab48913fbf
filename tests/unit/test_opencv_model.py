"""Where the ONNX for OpenCV may be written, and what OpenCV does around a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edsr_conversion import CatalogueError
from edsr_conversion.network import MEAN_BGR
from edsr_conversion.opencv_model import as_dnn_superres, check_places, sidecar_of


def test_the_sidecar_has_a_name_that_no_other_file_has_by_chance() -> None:
    assert sidecar_of(Path("out/EDSR_x3.onnx")) == Path("out/EDSR_x3.onnx.json")


@pytest.mark.parametrize("name", ["EDSR_x3.pb", "EDSR_x3", ".onnx", "."])
def test_a_file_that_opencv_would_not_know_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CatalogueError, match=r"does not end in \.onnx"):
        check_places(tmp_path / "EDSR_x3.pb", tmp_path / name)


def test_neither_a_folder_nor_the_graph_itself_is_replaced(tmp_path: Path) -> None:
    graph, out = tmp_path / "EDSR_x3.pb", tmp_path / "EDSR_x3.onnx"
    graph.write_bytes(b"graph")
    check_places(graph, out)
    check_places(tmp_path / "none.pb", out)
    out.mkdir()
    with pytest.raises(CatalogueError, match="is a folder"):
        check_places(graph, out)
    out.rmdir()
    for path in (out, sidecar_of(out)):
        path.symlink_to(graph)
        with pytest.raises(CatalogueError, match="is the graph itself"):
            check_places(graph, out)
        path.unlink()
    graph.rename(out)
    with pytest.raises(CatalogueError, match="is the graph itself"):
        check_places(out, out)


def test_opencv_gives_a_model_bgr_without_its_mean_and_rounds_what_comes_back() -> None:
    given = []

    def twice_as_large(blob: np.ndarray) -> np.ndarray:
        given.append(blob)
        return blob.repeat(2, axis=2).repeat(2, axis=3)

    rgb = np.random.default_rng(1).integers(0, 256, (2, 3, 5, 3), dtype=np.uint8)
    upscaled = as_dnn_superres(twice_as_large)(rgb)
    np.testing.assert_array_equal(upscaled, rgb.repeat(2, axis=1).repeat(2, axis=2))
    assert given[0].shape == (2, 3, 3, 5)
    assert given[0].dtype == np.float32
    for channel, mean in enumerate(MEAN_BGR):
        np.testing.assert_allclose(given[0][:, channel], rgb[..., 2 - channel] - mean, atol=1e-4)
    brighter = as_dnn_superres(lambda blob: twice_as_large(blob) * 9)(rgb)
    assert (brighter.min(), brighter.max()) == (0, 255)
