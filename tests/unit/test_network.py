import numpy as np
import pytest
from edsr_conversion import Conv, random_network


def test_the_published_size_has_the_published_number_of_parameters_and_operations() -> None:
    network = random_network(blocks=32, filters=256)
    assert network.parameters == 38_424_603
    assert network.flop_per_lr_pixel == pytest.approx(76.8e6, rel=1e-3)
    assert (network.halo_px, network.scale, network.filters) == (67, 3, 256)


def test_folding_scales_only_the_second_convolution_of_each_block() -> None:
    network = random_network(2, 4, residual_scale=0.1)
    folded = network.fold_residual_scale()
    assert folded.residual_scale == 1
    np.testing.assert_allclose(folded.blocks[0].second.kernel, network.blocks[0].second.kernel * 0.1, rtol=1e-6)
    np.testing.assert_allclose(folded.blocks[1].second.bias, network.blocks[1].second.bias * 0.1, rtol=1e-6)
    assert folded.blocks[0].first is network.blocks[0].first


def test_swapping_red_and_blue_twice_changes_nothing() -> None:
    network = random_network(1, 4, scale=2)
    swapped = network.swap_red_and_blue()
    assert not np.array_equal(swapped.tail.kernel, network.tail.kernel)
    twice = swapped.swap_red_and_blue()
    assert np.array_equal(twice.tail.kernel, network.tail.kernel)
    assert np.array_equal(twice.tail.bias, network.tail.bias)
    assert np.array_equal(twice.head.kernel, network.head.kernel)


def test_swapping_exchanges_colours_within_each_output_position() -> None:
    network = random_network(0, 2)
    np.testing.assert_array_equal(network.swap_red_and_blue().tail.bias[:6], network.tail.bias[[2, 1, 0, 5, 4, 3]])


def test_the_same_seed_gives_the_same_network() -> None:
    same, other = random_network(1, 4, seed=7), random_network(1, 4, seed=8)
    assert np.array_equal(random_network(1, 4, seed=7).head.kernel, same.head.kernel)
    assert not np.array_equal(other.head.kernel, same.head.kernel)


@pytest.mark.parametrize("size", [(-1, 4, 3), (1, 0, 3), (1, 4, 1)])
def test_impossible_sizes_are_refused(size: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="need blocks"):
        random_network(*size)


def test_a_kernel_that_is_not_3x3_is_refused() -> None:
    with pytest.raises(ValueError, match="not a 3x3"):
        Conv(np.zeros((5, 5, 3, 4), np.float32), np.zeros(4, np.float32))
