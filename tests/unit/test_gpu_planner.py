"""The planner's promises, for any card and any network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from edsr_conversion import PlanError, load_models, random_network
from edsr_conversion.errors import EngineError
from edsr_conversion.gpu.cards import Card, load_cards
from edsr_conversion.gpu.engine import planned_with
from edsr_conversion.gpu.planner import (
    FORMATS,
    MAX_ACTIVATIONS,
    MAX_ELEMENTS,
    MIB,
    Assumptions,
    NetworkSize,
    Plan,
    make_plan,
    peaks,
    profiles_of,
    times,
    tuned_for,
)
from edsr_conversion.gpu.profiles import Profile, with_small
from edsr_conversion.gpu.workload import ACTIVATIONS_CONSTANT
from edsr_conversion.repository import network_size
from edsr_serving.variants import RTX, TENSORRT
from hypothesis import assume, given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
CARDS = load_cards(ROOT)
MODELS = load_models(ROOT, local=False)
FULL, BASELINE = (network_size(MODELS[name]) for name in ("edsr_x3", "edsr_baseline_x3"))

networks = st.builds(
    NetworkSize, blocks=st.integers(1, 40), filters=st.sampled_from((8, 16, 64, 100, 256, 512)), scale=st.integers(2, 4)
)
precisions = st.sampled_from(tuple(FORMATS))


@st.composite
def any_card(draw: st.DrawFn) -> Card:
    """A card with memory, speed and bandwidth drawn at random, from a quarter of a small one to twice the largest."""
    rate = draw(st.floats(1, 5000))
    return replace(
        CARDS["t4"],
        vram_mib=draw(st.integers(1024, 400_000)),
        fp16_tflops=rate,
        fp32_tflops=rate / draw(st.floats(1, 32)),
        bandwidth_gb_s=draw(st.floats(50, 10_000)),
        pcie_gb_s=draw(st.floats(1, 100)),
    )


def plan_or_none(card: Card, network: NetworkSize, precision: str) -> Plan | None:
    try:
        return make_plan(card, network, precision)
    except PlanError:
        return None


@given(any_card(), networks, precisions)
def test_a_plan_keeps_every_limit(card: Card, network: NetworkSize, precision: str) -> None:
    plan = plan_or_none(card, network, precision)
    if plan is None:
        return
    assert plan.total_bytes <= plan.budget_bytes < card.vram_mib * MIB
    assert plan.activations_bytes <= MAX_ACTIVATIONS
    for profile in plan.profiles:
        assert profile.max_px * max(network.filters, network.out_channels) <= MAX_ELEMENTS
        assert profile.max_px <= plan.assumptions.max_request_px
    assert plan.side > 2 * network.halo_px
    assert 1 <= plan.instances <= plan.assumptions.max_instances


@given(any_card(), networks, precisions)
def test_the_predicted_memory_is_the_sum_of_its_parts(card: Card, network: NetworkSize, precision: str) -> None:
    plan = plan_or_none(card, network, precision)
    if plan is None:
        return
    largest = max(profile.max_px for profile in plan.profiles)
    weights = network.weights_bytes(precision)
    contexts = [network.activations(each.max_px, precision) + plan.workspace_bytes for each in plan.profiles]
    buffers = (2 if plan.output_copy_stream else 1) * largest * network.io_per_px()
    instance = plan.process_bytes + weights + sum(contexts) + buffers
    assert plan.total_bytes == plan.server_bytes + plan.instances * instance


@given(any_card(), networks, precisions)
def test_no_plan_means_that_not_even_the_smallest_tile_fits(card: Card, network: NetworkSize, precision: str) -> None:
    if plan_or_none(card, network, precision) is not None:
        return
    smallest = (2 * network.halo_px // 48 + 1) * 48
    px, a = smallest**2, Assumptions()
    needed = a.server_bytes + a.process_bytes + a.scratch_bytes + network.weights_bytes(precision)
    needed += network.activations(px, precision) + px * network.io_per_px()
    too_much = needed > card.vram_mib * MIB * (1 - a.margin)
    assert too_much or px * network.filters > MAX_ELEMENTS or network.activations(px, precision) > MAX_ACTIVATIONS


@given(any_card(), networks, precisions)
def test_the_decision_is_the_tightest_limit(card: Card, network: NetworkSize, precision: str) -> None:
    plan = plan_or_none(card, network, precision)
    if plan is None:
        return
    tightest = min(limit.side for limit in plan.limits)
    if plan.decided_by == "smallest tile":
        assert tightest < plan.side  # only time may be overruled: memory and elements never
        assert all(limit.side >= plan.side for limit in plan.limits if limit.name != "time")
    else:
        assert plan.side == tightest
        assert next(limit.side for limit in plan.limits if limit.name == plan.decided_by) == tightest


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 60).map(lambda n: 48 * n), st.booleans())
def test_profiles_are_disjoint_so_that_triton_cannot_choose_wrongly(h: int, w: int, side: int, wide: bool) -> None:
    holding = [profile for profile in profiles_of(side, wide=wide) if profile.holds(h, w)]
    assert len(holding) <= 1
    assert (len(holding) == 1) == (
        (h <= side and w <= side)
        or (wide and w > side and h <= side * 3 // 4 and w <= side * 4 // 3)
        or (wide and h > side and w <= side * 3 // 4 and h <= side * 4 // 3)
    )


def tritons_choice(profiles: Sequence[Profile], h: int, w: int, *, mended: bool) -> Profile:
    """Of triton-inference-server/tensorrt_backend, src/instance_state.cc, EvaluateTensorRTContext.

    Of the profiles that take a request, the one whose opt shape is nearest to it; but the dimensions are compared off
    by one, batch with height and height with width. `mended` is what it means to do.
    """
    asked = (1, h, w, 3)

    def distance(profile: Profile) -> int:
        tuned_for = (1, *profile.opt_hw, 3)
        pairs = zip(tuned_for[1:], asked[1:] if mended else asked[:-1], strict=True)
        return abs(tuned_for[0] - 1) + sum(abs(ours - theirs) for ours, theirs in pairs)

    return min((profile for profile in profiles if profile.holds(h, w)), key=distance)


@given(
    *(st.integers(1, 3840), st.integers(1, 3840), st.integers(23, 60).map(lambda n: 48 * n)),
    *(st.booleans(), st.sampled_from((512, 1024))),
)
def test_triton_takes_the_small_profile_for_every_picture_that_it_holds(
    h: int, w: int, side: int, wide: bool, largest: int
) -> None:
    profiles = with_small(profiles_of(side, wide=wide), largest)
    assume(any(profile.holds(h, w) for profile in profiles))
    chosen = tritons_choice(profiles, h, w, mended=False)
    assert (chosen.name == "small") == (h <= largest and w <= largest)
    assert tritons_choice(profiles, h, w, mended=True).holds(h, w)
    assert with_small(profiles_of(960, wide=wide), 512) == profiles_of(960, wide=wide)


def test_a_small_profile_is_there_where_the_memory_is_and_is_no_limit_of_its_own() -> None:
    plan = make_plan(CARDS["h100"], FULL, "fp16")
    assert [profile.name for profile in plan.profiles] == ["square", "wide", "tall", "small"]
    small = plan.profiles[-1]
    assert (small.max_hw, small.opt_hw) == ((1024, 1024), (512, 512))
    assert plan.context_sizes[-1] < plan.context_sizes[0] / 7
    assert not plan.has_contexts_of_one_size
    tight = make_plan(CARDS["t4"], FULL, "fp16")  # its profiles for wide and tall pictures take all there is
    assert [profile.name for profile in tight.profiles] == ["square", "wide", "tall"]
    assert tight.has_contexts_of_one_size


def test_what_kernels_are_tuned_for_is_a_setting() -> None:
    plan = make_plan(CARDS["h100"], FULL, "fp16")
    other = tuned_for(plan, 1080, 1920)
    assert other.profiles[0].opt_hw == (1080, 1920)
    assert other.profiles[1:] == plan.profiles[1:]
    assert other.total_bytes == plan.total_bytes
    everyday = tuned_for(plan, 768, 768)
    assert [profile.name for profile in everyday.profiles] == ["square", "wide", "tall"]
    assert not any("512x512" in note for note in everyday.notes)
    with pytest.raises(PlanError, match="cannot be tuned for 4000x100: its largest request is 2880x2880"):
        tuned_for(plan, 4000, 100)


def test_launches_bound_the_time_of_a_tiny_picture_and_nothing_else() -> None:
    card, a = CARDS["b200"], Assumptions()
    launches = BASELINE.kernels("fp16") * a.launch_s
    assert times(card, BASELINE, "fp16", 16 * 16)[1] == launches == pytest.approx(190e-6)
    assert times(card, BASELINE, "fp16", 1024 * 1024)[1] > 5 * launches


def test_cuda_graphs_are_decided_per_profile_and_left_out_where_triton_would_fail_at_them() -> None:
    """Triton's backend records a shape in every context; that of TensorRT for RTX records what comes."""
    fast = replace(CARDS["rtx-5090"], fp16_tflops=5000, bandwidth_gb_s=20_000)
    plans = {flavour: make_plan(fast, BASELINE, "fp16", flavour) for flavour in (TENSORRT, RTX)}
    assert all(len(plan.profiles) > 1 for plan in plans.values())
    assert plans[RTX].cuda_graphs
    assert not plans[TENSORRT].cuda_graphs
    alone = make_plan(replace(fast, vram_mib=2200), BASELINE, "fp16")
    assert len(alone.profiles) == 1
    assert alone.cuda_graphs
    assert not make_plan(CARDS["l4"], BASELINE, "fp16", RTX).cuda_graphs


@given(st.integers(1, 60).map(lambda n: 48 * n))
def test_wide_and_tall_profiles_have_the_area_of_the_square_and_the_aspect_16_9(side: int) -> None:
    square, wide, tall = profiles_of(side, wide=True)
    assert square.max_px == wide.max_px == tall.max_px
    assert wide.max_hw[1] * 9 == wide.max_hw[0] * 16
    assert wide.max_hw == tall.max_hw[::-1]


@given(any_card(), networks, st.integers(1, 20_000), st.integers(1, 20_000))
def test_tiles_cover_a_picture_and_each_fits(card: Card, network: NetworkSize, h: int, w: int) -> None:
    plan = plan_or_none(card, network, "fp16")
    if plan is None:
        return
    cut = plan.tiling(h, w)
    assert plan.fits(cut.tile_height, cut.tile_width)
    assert (cut.requests == 1) or not plan.fits(h, w)
    halos = 2 * network.halo_px
    assert cut.rows * cut.tile_height - (cut.rows - 1) * halos >= h
    assert cut.columns * cut.tile_width - (cut.columns - 1) * halos >= w


@given(any_card(), networks, precisions, st.integers(1, 10**8))
def test_nothing_is_expected_to_beat_the_physical_limit(c: Card, n: NetworkSize, precision: str, px: int) -> None:
    limit, expected, copies = times(c, n, precision, px)
    assert 0 < limit <= expected
    assert copies > 0
    best = c.int8_tops if precision == "int8" else max(c.fp16_tflops, c.fp16_fast_tflops, c.fp32_tflops)
    assert limit >= px * n.flop_per_px / (best * 1e12) * (1 - 1e-12)


@given(any_card(), networks, precisions)
def test_more_memory_never_gives_a_smaller_plan(card: Card, network: NetworkSize, precision: str) -> None:
    small = plan_or_none(card, network, precision)
    large = plan_or_none(replace(card, vram_mib=2 * card.vram_mib), network, precision)
    if small is None:
        return
    assert large is not None
    assert large.side >= small.side
    assert large.instances >= small.instances


@pytest.mark.parametrize("key", ["a100-40gb", "l40s"])
def test_instances_are_added_only_where_copies_take_a_visible_part_of_the_time(key: str) -> None:
    """And only with TensorRT for RTX, whose backend answers one request after the other."""
    fast = make_plan(CARDS[key], BASELINE, "fp16", RTX)
    slow = make_plan(CARDS[key], FULL, "fp16", RTX)
    assert fast.copy_s / fast.expected_s >= fast.assumptions.min_gain
    assert fast.instances > 1
    assert slow.copy_s / slow.expected_s < slow.assumptions.min_gain
    assert slow.instances == 1
    assert not fast.output_copy_stream


@given(any_card(), networks, precisions)
def test_with_tensorrt_one_instance_hides_the_copies_where_its_second_buffers_fit(
    card: Card, network: NetworkSize, precision: str
) -> None:
    plan = plan_or_none(card, network, precision)
    if plan is None:
        return
    assert plan.instances == 1
    once = max(profile.max_px for profile in plan.profiles) * network.io_per_px()
    assert plan.io_bytes == (2 if plan.output_copy_stream else 1) * once
    if not plan.output_copy_stream:
        visible = plan.copy_s / plan.expected_s >= plan.assumptions.min_stream_gain
        assert not visible or plan.total_bytes + once > plan.budget_bytes


@pytest.mark.parametrize("key", ["a100-40gb", "h100", "h200", "l40s"])
def test_hiding_copies_takes_237_mib_and_not_another_instance(key: str) -> None:
    plan = make_plan(CARDS[key], BASELINE, "fp16")
    assert plan.output_copy_stream
    assert plan.total_bytes < 14_800 * MIB
    assert plan.io_bytes // 2 // MIB == 237


def test_a_card_that_is_short_of_memory_is_bound_by_it() -> None:
    plan = make_plan(replace(CARDS["a100-40gb"], vram_mib=4096), FULL, "fp16")
    assert plan.decided_by == "memory"
    assert len(plan.profiles) == 1  # two more would not fit
    assert plan.total_bytes > 0.8 * plan.budget_bytes


def test_a_80_gb_card_takes_a_4k_picture_of_the_full_network_in_one_piece() -> None:
    plan = make_plan(CARDS["h100"], FULL, "fp16")
    assert plan.fits(2160, 3840)
    assert plan.fits(3840, 2160)
    assert plan.fits(2880, 2880)
    assert not plan.fits(2881, 2880)


@pytest.mark.parametrize("key", ["gtx-1650", "rtx-3050-laptop"])
@pytest.mark.parametrize("network", [FULL, BASELINE])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_card_of_4_gb_has_a_plan(key: str, network: NetworkSize, precision: str) -> None:
    plan = make_plan(CARDS[key], network, precision)
    assert plan.total_bytes <= plan.budget_bytes


def test_no_memory_for_any_plan_is_refused_with_what_to_do() -> None:
    with pytest.raises(PlanError, match=r"No plan fits NVIDIA T4 \(1000 MiB\).*MiB are left.*larger card"):
        make_plan(replace(CARDS["t4"], vram_mib=1000), FULL, "fp16")
    with pytest.raises(PlanError, match="There are: fp32, fp16"):
        make_plan(CARDS["t4"], FULL, "int3")


def test_the_size_of_a_network_agrees_with_the_network_itself() -> None:
    for blocks, filters, scale in ((1, 8, 2), (16, 64, 3), (3, 20, 4)):
        network, size = random_network(blocks, filters, scale), NetworkSize(blocks, filters, scale)
        assert size.parameters == network.parameters
        assert size.flop_per_px == network.flop_per_lr_pixel
        assert size.halo_px == network.halo_px


def test_the_published_network_is_planned_with_its_published_size() -> None:
    assert FULL.parameters == 38_424_603
    assert math.isclose(FULL.flop_per_px, 76.8e6, rel_tol=1e-3)
    assert FULL.activations(1024**2, "fp16") == ACTIVATIONS_CONSTANT + 4 * 256 * 2 * 1024**2


def test_8_bits_are_expected_to_be_faster_with_tensorrt_alone() -> None:
    card = CARDS["l4"]
    seconds = {
        (precision, flavour): make_plan(card, BASELINE, precision, flavour).times(512 * 512)[1]
        for precision in ("fp16", "int8")
        for flavour in (TENSORRT, RTX)
    }
    assert seconds["int8", TENSORRT] < seconds["fp16", TENSORRT] == seconds["fp16", RTX]
    assert seconds["int8", RTX] > 1.5 * seconds["fp16", RTX]  # it moves twice the bytes
    assert peaks(card, "int8", RTX)[0] == card.fp16_tflops * 1e12


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_cuda_and_its_libraries_are_charged_once_with_tensorrt_and_per_instance_without(precision: str) -> None:
    card, a = CARDS["a100-40gb"], Assumptions()
    inside, apart = (make_plan(card, BASELINE, precision, flavour) for flavour in (TENSORRT, RTX))
    assert (inside.server_bytes, inside.process_bytes) == (a.server_bytes + a.process_bytes, 0)
    assert (apart.server_bytes, apart.process_bytes) == (a.server_bytes, a.process_bytes)


@pytest.mark.parametrize("flavour", [TENSORRT, RTX])
def test_a_plan_follows_an_engine_that_needs_more_than_predicted(flavour: str) -> None:
    plan = make_plan(CARDS["h100"], FULL, "fp16", flavour)
    apart = plan.workspace_bytes if flavour == RTX else 0  # whose builder tells activations alone
    told = [size - apart for size in plan.context_sizes]
    assert plan.following(told) is plan
    assert plan.following([size - 1 for size in told]) is plan
    assert plan.following(()) is plan  # a builder that tells nothing
    larger = plan.following([told[0] + 500 * MIB, *told[1:]])
    assert larger.context_bytes == plan.context_bytes + 500 * MIB
    assert larger.total_bytes > plan.total_bytes
    assert larger.fits_the_card()
    assert "needs 16,835 MiB for its largest context, and 16,335 were predicted" in larger.notes[-1]
    assert planned_with(plan, [told[0] + 500 * MIB, *told[1:]]) == larger
    with pytest.raises(EngineError, match=r"needs \d+,\d+ MiB for a context.*in all. The card has 73,403 to give"):
        planned_with(plan, [80_000 * MIB for _ in told])


@given(any_card(), networks, st.sampled_from(("fp16", "fp32")))
def test_contexts_of_tensorrt_for_rtx_share_the_memory_of_the_largest(
    card: Card, network: NetworkSize, precision: str
) -> None:
    try:
        plan = make_plan(card, network, precision, RTX)
    except PlanError:
        return
    assert plan.contexts_bytes == max(plan.context_sizes)
    assert plan.total_bytes <= plan.budget_bytes
    assert len(plan.max_shapes) == 3  # whatever holds the square holds the others
    apart = make_plan(card, network, precision)
    assert len(apart.profiles) <= len(plan.profiles)
    assert apart.contexts_bytes == sum(apart.context_sizes)
