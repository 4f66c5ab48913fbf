import numpy as np
import pytest
from edsr_conversion.quantization import QuantizedTensor, quantize, round_half_away
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

finite = st.floats(-100, 100, width=32)
tensors = hnp.arrays(np.float32, st.integers(2, 200), elements=finite)


@given(tensors)
def test_every_weight_comes_back_within_half_a_step(weights: np.ndarray) -> None:
    weights = np.append(weights, np.float32(0))
    step = (float(weights.max()) - float(weights.min())) / 255
    error = np.abs(quantize(weights).dequantize() - weights)
    # The shift moves the grid by up to half a step, so one end of the range may lie off it.
    assert error.max() <= step * 1.001 + 1e-5
    inside = (weights > weights.min() + step) & (weights < weights.max() - step)
    assert error[inside].max(initial=0) <= step / 2 * 1.001 + 1e-5


def test_a_range_too_narrow_for_a_step_is_a_constant() -> None:
    weights = np.array([1e-45, 0], np.float32)
    assert np.isfinite(quantize(weights).dequantize()).all()
    assert np.abs(quantize(weights).dequantize()).max() <= 1e-44


@given(tensors)
def test_zero_is_exact_when_the_range_spans_it(weights: np.ndarray) -> None:
    weights = np.concatenate([weights, np.array([0, -1, 1], np.float32)])
    restored = quantize(weights).dequantize()
    assert np.abs(restored[-3]) <= 1e-6 * np.abs(weights).max()


def test_a_range_of_zero_width_is_a_constant() -> None:
    assert (quantize(np.full(5, 0.25, np.float32)).dequantize() == 0.25).all()


def test_the_range_is_shifted_and_not_simply_offset_by_its_minimum() -> None:
    tensor = QuantizedTensor(np.array([0, 255], np.uint8), -0.1, 0.245)
    step = 0.345 / 255
    np.testing.assert_allclose(tensor.dequantize(), [-74 * step, 181 * step], rtol=1e-6)
    assert abs(tensor.dequantize()[0] - -0.1) > 1e-5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        quantize(np.array([0, bad], np.float32))


@pytest.mark.parametrize(("value", "rounded"), [(0.5, 1), (1.5, 2), (2.5, 3), (-0.5, -1), (-2.5, -3), (0.49, 0)])
def test_halves_are_rounded_away_from_zero_as_c_does(value: float, rounded: float) -> None:
    assert round_half_away(value) == rounded
