"""What surrounds an engine: profiles, buffers, errors, limits, the card it is loaded on. No GPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from edsr_serving.errors import InstallationError, NothingToServeError
from edsr_serving.gpu.card import card_key, check_engines, serving_cards
from edsr_serving.gpu.devices import Device
from edsr_serving.gpu.host import (
    EAGER,
    LAZY,
    NEVER,
    CudaError,
    GrowingBuffer,
    ShapeError,
    ShapeRange,
    Specialisation,
    choose_profile,
    failure_of,
)
from edsr_serving.limits import Limits
from edsr_serving.options import ServerOptions
from edsr_serving.repository import check_memory, choose, find_models, without_second_models
from hypothesis import given
from hypothesis import strategies as st

PROFILES = (ShapeRange((1, 1), (1440, 1440)), ShapeRange((1, 1441), (1080, 1920)), ShapeRange((1441, 1), (1920, 1080)))
T4 = Device(0, "Tesla T4", "7.5", 15360)


@pytest.mark.parametrize(("shape", "expected"), [((1, 1), 0), ((1440, 1440), 0), ((1080, 1920), 1), ((1441, 9), 2)])
def test_a_picture_gets_the_profile_that_takes_it(shape: tuple[int, int], expected: int) -> None:
    assert choose_profile(PROFILES, *shape) == expected


@pytest.mark.parametrize("shape", [(1441, 1441), (1081, 1920), (1, 1921), (0, 5)])
def test_a_picture_no_profile_takes_is_refused_with_the_largest_shapes(shape: tuple[int, int]) -> None:
    with pytest.raises(ShapeError, match="at most 1440x1440, 1080x1920, 1920x1080"):
        choose_profile(PROFILES, *shape)


def test_the_smallest_profile_that_takes_a_picture_is_the_one_tuned_for_it() -> None:
    with_small = (*PROFILES, ShapeRange((1, 1), (1024, 1024)))
    assert choose_profile(with_small, 512, 512) == choose_profile(with_small, 1024, 1) == len(PROFILES)
    assert choose_profile(with_small, 1025, 1) == choose_profile(PROFILES, 1025, 1)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50))
def test_a_growing_buffer_is_large_enough_and_never_leaks(sizes: list[int]) -> None:
    held: dict[int, int] = {}
    made = 0

    def allocate(size: int) -> int:
        nonlocal made
        made += 1
        held[made] = size
        return made

    buffer: GrowingBuffer[int] = GrowingBuffer(allocate, held.__delitem__, largest=1000)
    for size in sizes:
        assert held[buffer.at_least(size)] >= size
        assert len(held) == 1
        assert sum(held.values()) <= 1000
    assert made <= 12  # it doubles: no allocation for each slightly larger picture
    with pytest.raises(ShapeError, match="1001 bytes"):
        buffer.at_least(1001)
    buffer.close()
    assert not held


@pytest.mark.parametrize(
    ("error", "code", "fatal"),
    [
        (ShapeError("too large"), "INVALID_ARG", False),
        (CudaError("no memory", "cudaErrorMemoryAllocation"), "UNAVAILABLE", False),
        (CudaError("gone", "cudaErrorIllegalAddress"), "INTERNAL", True),
        (CudaError("TensorRT did not run"), "INTERNAL", False),
        (RuntimeError("whatever"), "INTERNAL", False),
    ],
)
def test_errors_are_mapped_once(error: Exception, code: str, fatal: bool) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.is_fatal) == (code, fatal)
    assert str(error) in failure.message


def test_limits_come_from_the_models_parameters() -> None:
    limits = Limits.of({"max_lr_pixels": "2073600", "max_shapes": "1440x1440,1080x1920,1920x1080", "scale": "3"})
    assert limits == Limits(2073600, ((1440, 1440), (1080, 1920), (1920, 1080)))
    assert Limits.of({}) == Limits()
    with pytest.raises(ValueError, match="invalid literal"):
        Limits.of({"max_shapes": "large"})


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_what_the_limits_let_through_fits_a_shape(height: int, width: int) -> None:
    limits = Limits(2073600, tuple(profile.max_hw for profile in PROFILES))
    fits = height > 0 < width and any(height <= p.max_hw[0] and width <= p.max_hw[1] for p in PROFILES)
    refusal = limits.refusal((1, height, width, 3))
    assert bool(refusal) != fits
    if height > 1440 and width > 1440:
        assert "tiles" in refusal


def test_a_precision_of_an_engine_is_part_of_its_variant() -> None:
    assert ServerOptions().variant == ""
    assert ServerOptions(gpu="a10g").variant == "a10g-rtx"
    assert ServerOptions(gpu="a10g", precision="fp32").variant == "a10g-fp32-rtx"


@pytest.fixture
def engine(tmp_path: Path) -> Callable[..., Path]:
    """A model folder with a GPU configuration and an engine file: engine(name="m", planned=100) -> the repository."""

    def make(name: str = "m", planned: int = 100, inputs: str = "clean", **changes: object) -> Path:
        folder = tmp_path / name
        (folder / "configs").mkdir(parents=True)
        (folder / "1").mkdir()
        values = {
            "source_sha256": "a" * 64,
            "max_shapes": "96x96",
            "planned_model_mib": str(planned),
            "planned_server_mib": "50",
            "vram_budget_mib": "200",
            "inputs": inputs,
        }
        entry = 'parameters {{\n  key: "{}"\n  value {{\n    string_value: "{}"\n  }}\n}}\n'
        text = "instance_group {\n  count: 2\n}\n" + "".join(entry.format(*item) for item in values.items())
        (folder / "config.pbtxt").write_text("", "utf-8")
        (folder / "configs" / "t4-rtx.pbtxt").write_text(text, "utf-8")
        (folder / "configs" / "h100.pbtxt").write_text(text, "utf-8")
        (folder / "1" / "t4-rtx.plan").write_bytes(b"plan")
        (folder / "1" / "model.fp16.onnx").write_bytes(b"onnx")
        sidecar = {
            "engine": {"sha256": hashlib.sha256(b"plan").hexdigest()},
            "source": {"sha256": "a" * 64},
            "onnx": {"file": "model.fp16.onnx", "sha256": hashlib.sha256(b"onnx").hexdigest()},
            "plan": {"max_shapes": [[96, 96]], "vram_bytes": 15360 * 2**20},
            "version": "1.7",
            "card": {"key": "t4", "name": "NVIDIA T4", "compute_capability": "7.5", "driver_names": ["Tesla T4"]},
        } | changes
        (folder / "1" / "t4-rtx.json").write_text(json.dumps(sidecar), "utf-8")
        return tmp_path

    return make


def test_a_whole_engine_is_servable_with_one_process_per_instance(engine: Callable[..., Path]) -> None:
    (model,) = choose(find_models(engine(), "t4-rtx"), ())
    assert model.problem == ""
    assert model.instances == 2
    assert check_engines([model], [T4], "1.7") == []


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("1/t4-rtx.plan", None, "t4-rtx.plan is not built.*make engines GPU=t4 FLAVOUR=tensorrt-rtx"),
        ("1/t4-rtx.plan", b"pl", "not the file its sidecar describes"),
        ("1/t4-rtx.json", b"{", "missing or damaged"),
        ("1/t4-rtx.json", None, "missing or damaged"),
        ("1/model.fp16.onnx", b"newer", "built from an older model.fp16.onnx"),
        ("configs/t4-rtx.pbtxt", None, "no configuration t4-rtx"),
    ],
)
def test_an_engine_that_is_not_whole_is_not_served(
    engine: Callable[..., Path], file: str, content: bytes | None, words: str
) -> None:
    path = engine() / "m" / file
    path.write_bytes(content) if content is not None else path.unlink()
    with pytest.raises(NothingToServeError, match=words):
        choose(find_models(path.parents[2], "t4-rtx"), ())


def test_an_engine_of_another_graph_or_plan_is_not_served(engine: Callable[..., Path]) -> None:
    engine("other-graph", source={"sha256": "b" * 64})
    repository = engine("other-plan", plan={"max_shapes": [[48, 48]]})
    problems = {model.name: model.problem for model in find_models(repository, "t4-rtx")}
    assert "another graph" in problems["other-graph"]
    assert "built for 48x48, but t4-rtx.pbtxt says 96x96" in problems["other-plan"]


def test_a_card_tensorrt_for_rtx_does_not_support_points_to_the_container(engine: Callable[..., Path]) -> None:
    with pytest.raises(NothingToServeError, match="make up GPU=h100"):
        choose(find_models(engine(), "h100-rtx"), ())


def test_models_that_do_not_fit_the_card_together_are_refused_before_loading(engine: Callable[..., Path]) -> None:
    engine("one", planned=100)
    models = find_models(engine("two", planned=60), "t4-rtx")
    check_memory(models[:1])
    with pytest.raises(NothingToServeError, match=r"one and two together need 210 MiB.*has 200.*MODEL=one"):
        check_memory(models)


def test_a_model_for_compressed_pictures_gives_way_where_the_card_cannot_hold_all(engine: Callable[..., Path]) -> None:
    engine("clean", planned=100)
    models = find_models(engine("photo", planned=60, inputs="compressed"), "t4-rtx")
    assert [model.name for model in without_second_models(models)] == ["clean"]
    assert [model.name for model in without_second_models(models[1:])] == ["photo"]
    small = find_models(engine("small", planned=40, inputs="compressed"), "t4-rtx")
    pair = [model for model in small if model.name in ("clean", "small")]
    assert without_second_models(pair) == pair


def test_an_engine_for_another_card_or_version_is_refused_and_a_lookalike_warned_of(
    engine: Callable[..., Path],
) -> None:
    models = find_models(engine(), "t4-rtx")
    with pytest.raises(NothingToServeError, match=r"for NVIDIA T4 \(7.5\), and this machine has NVIDIA L4 \(8.9\)"):
        check_engines(models, [Device(0, "NVIDIA L4", "8.9", 23034)], "1.7")
    with pytest.raises(NothingToServeError, match=r"built with TensorRT for RTX 1\.7, and 1\.8 is"):
        check_engines(models, [T4], "1.8")
    with pytest.raises(InstallationError, match="no NVIDIA GPU"):
        check_engines(models, [], "1.7")
    with pytest.raises(InstallationError, match="make setup"):
        check_engines(models, [T4], "")
    (warning,) = check_engines(models, [Device(0, "NVIDIA GeForce GTX 1650", "7.5", 4096)], "1.7")
    assert "planned for NVIDIA T4, running on NVIDIA GeForce GTX 1650" in warning


@pytest.mark.parametrize("name", ["t4", "T4", "nvidia_t4", "Tesla T4", "NVIDIA Tesla-T4 MIG 1g.5gb"])
def test_a_card_of_the_repository_is_found_by_the_names_that_a_plan_takes(
    engine: Callable[..., Path], name: str
) -> None:
    card = {"key": "t4", "driver_names": ["Tesla T4", "NVIDIA Tesla-T4 MIG 1g.5gb"]}
    assert card_key(name, engine(card=card), []) == "t4"


def test_a_card_the_repository_does_not_have_is_refused_with_near_names(engine: Callable[..., Path]) -> None:
    repository = engine()
    for name, words in (("t44", "no card 't44' in .*Did you mean t4"), ("../t4", "no card"), ("all", "takes one")):
        with pytest.raises(NothingToServeError, match=words):
            card_key(name, repository, [])
    assert card_key("H100", repository, []) == "h100"  # has a configuration, but no engine


def test_an_engine_of_another_precision_is_advised_by_card_and_precision(engine: Callable[..., Path]) -> None:
    repository = engine()
    with pytest.raises(NothingToServeError, match="make engines GPU=t4 PRECISION=fp32 FLAVOUR=tensorrt-rtx"):
        choose(find_models(repository, "t4-fp32-rtx"), ())
    with pytest.raises(NothingToServeError, match="make up GPU=h100 PRECISION=fp32"):
        choose(find_models(repository, "h100-fp32-rtx"), ())
    (model,) = find_models(engine("other", precision="fp32"), "t4-rtx")[1:]
    with pytest.raises(NothingToServeError, match="make engines GPU=t4 PRECISION=fp32"):
        check_engines([model], [T4], "1.8")


def test_auto_is_the_card_whose_engine_is_there(engine: Callable[..., Path]) -> None:
    repository = engine()
    assert card_key("auto", repository, [T4]) == "t4"
    with pytest.raises(InstallationError, match="no NVIDIA GPU"):
        card_key("auto", repository, [])
    with pytest.raises(NothingToServeError, match="No engine was built for NVIDIA L4"):
        card_key("auto", repository, [Device(0, "NVIDIA L4", "8.9", 23034)])
    with pytest.raises(NothingToServeError, match="No engine was built for Tesla T4"):
        card_key("auto", repository, [replace(T4, vram_mib=8192)])  # planned for more memory than this one has


def test_equal_gpus_all_serve_and_others_are_left_out_with_a_warning(engine: Callable[..., Path]) -> None:
    """Triton starts every model's instances on each GPU that it may see: n equal cards in one server."""
    models = find_models(engine(), "t4-rtx")
    l4, second = Device(0, "NVIDIA L4", "8.9", 23034, uuid="GPU-a"), replace(T4, index=2, uuid="GPU-c")
    assert serving_cards(models, (T4, second), named=False) == ((T4, second), [])
    assert check_engines(models, (T4, second), "1.7") == []
    chosen, (warning,) = serving_cards(models, (l4, T4, second), named=False)
    assert chosen == (T4, second)
    assert "serving on 2 of 3 GPUs" in warning
    assert "Left out: 0: NVIDIA L4" in warning
    lookalike = Device(3, "NVIDIA GeForce GTX 1650", "7.5", 4096)
    assert serving_cards(models, (l4, lookalike, replace(lookalike, index=4)), named=False)[0] == (lookalike,)
    assert card_key("auto", engine("other"), (l4, second)) == "t4"


def test_every_gpu_that_is_named_is_checked(engine: Callable[..., Path]) -> None:
    models = find_models(engine(), "t4-rtx")
    cards = (T4, Device(1, "NVIDIA L4", "8.9", 23034))
    assert serving_cards(models, cards, named=True) == (cards, [])
    with pytest.raises(NothingToServeError, match=r"has NVIDIA L4 \(8\.9\) as GPU 1 of those.*DEVICE="):
        check_engines(models, cards, "1.7")


def test_kernels_are_compiled_for_tuned_shapes_first_and_for_a_bounded_number_of_others() -> None:
    way = Specialisation({(1440, 1440), (512, 512)}, free=2).of
    assert way(512, 512) == way(1440, 1440) == EAGER
    assert [way(1, side) for side in (7, 8, 9, 7, 10)] == [LAZY, LAZY, NEVER, LAZY, NEVER]
    assert way(512, 512) == EAGER


def test_tensorrt_for_rtx_has_every_name_that_the_runner_uses() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    assert {EAGER, LAZY, NEVER} <= trt.DynamicShapesKernelSpecializationStrategy.__members__.keys()
    assert "USER_MANAGED" in trt.ExecutionContextAllocationStrategy.__members__
    assert "WHOLE_GRAPH_CAPTURE" in trt.CudaGraphStrategy.__members__
    names = {
        trt.IRuntimeConfig: (
            *("set_execution_context_allocation_strategy", "dynamic_shapes_kernel_specialization_strategy"),
            *("cuda_graph_strategy", "create_runtime_cache", "set_runtime_cache"),
        ),
        trt.ICudaEngine: (
            *("create_runtime_config", "create_execution_context", "get_device_memory_size_for_profile_v2"),
            *("get_tensor_profile_shape", "num_optimization_profiles"),
        ),
        trt.IExecutionContext: (
            *("set_optimization_profile_async", "set_device_memory", "set_input_shape", "get_tensor_shape"),
            *("set_tensor_address", "execute_async_v3"),
        ),
    }
    missing = [(kind.__name__, name) for kind, used in names.items() for name in used if not hasattr(kind, name)]
    assert not missing
    # The size is an argument of its own: the memory is the caller's.
    assert "memory: typing.SupportsInt, size: typing.SupportsInt" in trt.IExecutionContext.set_device_memory.__doc__
