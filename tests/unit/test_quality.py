import numpy as np
import pytest
from edsr_conversion.quality import luma, psnr_y


def test_luma_of_black_white_and_green_is_bt601() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [0, 255, 0]]], np.uint8)
    np.testing.assert_allclose(luma(colours)[0], [16, 235, 16 + 128.553], atol=1e-3)


def test_psnr_of_a_known_difference() -> None:
    a = np.full((20, 20, 3), 100, np.uint8)
    # Ten levels in every channel are 10 * 219 / 255 in luma.
    assert psnr_y(a, a + 10) == pytest.approx(20 * np.log10(255 / (10 * 219 / 255)), abs=1e-3)


def test_equal_pictures_are_infinitely_alike_and_the_border_does_not_count() -> None:
    a = np.zeros((20, 20, 3), np.uint8)
    b = a.copy()
    b[:3] = 255
    assert psnr_y(a, b) == np.inf
    assert psnr_y(a, b, shave_px=0) < 20


def test_pictures_of_different_shapes_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        psnr_y(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 21, 3), np.uint8))
