"""What of the measurement on a GPU needs none: its steps, its result, its refusal, and the network in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.planner import NetworkSize, make_plan
from edsr_perf.cli import main
from edsr_perf.errors import PerfError
from edsr_perf.gpu import cli, found, matrix, page
from edsr_perf.gpu.engines import Engines, at_once, instances_that_fit
from edsr_perf.gpu.result import STEPS, problems
from edsr_perf.gpu.steps import Clock, SkipStep, Step, run_steps
from edsr_perf.sections import read_results, with_section
from edsr_serving.gpu.devices import Device, devices

ROOT = Path(__file__).resolve().parents[2]
CARDS = load_cards(ROOT, local=False)
SMALL = NetworkSize(16, 64, 3)
H100 = Device(0, "NVIDIA H100 80GB HBM3", "9.0", 81559, driver="580.1")


class Ticking:
    """A clock that each step moves on by so many seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def done(result: dict[str, Any]) -> dict[str, Any]:
    return {"status": "done", "seconds": 1.0, "result": result}


def outcomes() -> dict[str, Any]:
    """Of a card on which no TensorRT ran."""
    skipped = {"status": "skipped", "seconds": 0.0, "reason": "no engine"}
    shape = {"compute_ms": 2.0, "with_copies_ms": 3.0, "peak_bytes": 2**30, "reserved_bytes": 2**31}
    reference = {"label": "PyTorch", "shapes": {"512x512": shape}, "ended": "out of memory", "psnr_db": 65.0}
    return {
        "matrix product": done({"name": "H100", "flop_s": {"fp16": 7e14}}),
        "engine": skipped,
        "verify": skipped,
        "concurrency": skipped,
        "reference": done(reference),
    }


@pytest.mark.skipif(bool(devices()), reason="this machine has an NVIDIA GPU")
def test_without_a_gpu_it_refuses_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", "--root", str(ROOT)]) == 10
    error = capsys.readouterr().err
    assert error.startswith("error: This machine has no NVIDIA GPU")
    assert error.count("\n") == 1
    assert "reason" in matrix.peaks_here()


def test_a_measurement_is_whole_where_nothing_but_the_reference_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = outcomes()

    def replay(name: str) -> dict[str, Any]:
        if kept[name]["status"] == "done":
            return dict(kept[name]["result"])
        raise SkipStep(kept[name]["reason"])

    def steps(*_: object) -> list[Step]:
        return [Step(name, lambda name=name: replay(name)) for name in STEPS]  # type: ignore[misc]

    monkeypatch.setattr(found, "gpus", lambda _: (H100,))
    monkeypatch.setattr(cli, "steps_of", steps)
    built = ROOT / "model_repository" / "edsr_baseline_x3" / "1" / "model.onnx"
    if not built.is_file():
        pytest.skip("edsr_baseline_x3 is not built: `make onnx`")
    assert main(["gpu", "--root", str(ROOT), "--results", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    result = json.loads(path.read_text("utf-8"))
    assert path.name == "gpu-h100-edsr_baseline_x3.json"
    assert problems(result) == []
    assert result["limits_s"].keys() == {"512x512"}
    text = page.section([result])
    assert "| 512x512 | 0.65 ms | not measured |  | 2.0 ms | 33% | 1,024 MiB |" in text
    assert "Not measured: engine (skipped: no engine)." in text
    assert "verify: skipped: no engine" in capsys.readouterr().out
    assert main(["gpu", "--root", str(ROOT), "--seconds", "0"]) == 1


def test_a_result_of_another_form_is_found_out() -> None:
    assert "model is missing" in problems({"format": 1, "steps": {}})
    assert "format is 7, not 1" in problems({"format": 7})
    assert "step 'engine' is missing" in problems({})
    steps = {"engine": {"status": "done"}, "verify": {"status": "skipped"}, "concurrency": {"status": "odd"}}
    told = problems({"steps": steps})
    assert "step 'engine' is done without a result" in told
    assert "step 'verify' is skipped without a reason" in told
    assert "step 'concurrency' has status 'odd'" in told


def test_a_step_that_fails_or_has_no_time_left_does_not_stop_the_others() -> None:
    now = Ticking()
    told: list[str] = []

    def slow() -> dict[str, Any]:
        now.seconds += 90
        return {"x": 1}

    def broken() -> dict[str, Any]:
        raise RuntimeError("CUDA error:\n  out of memory")

    def impossible() -> dict[str, Any]:
        raise SkipStep("no such library")

    steps = [Step("impossible", impossible), Step("broken", broken), Step("slow", slow), Step("late", slow, 20)]
    kept = run_steps(steps, Clock(100, now), told.append)
    assert kept["impossible"] == {"status": "skipped", "reason": "no such library", "seconds": 0.0}
    assert kept["broken"]["reason"] == "RuntimeError: CUDA error: out of memory"
    assert kept["slow"] == {"status": "done", "result": {"x": 1}, "seconds": 90.0}
    assert kept["late"]["reason"] == "10 s were left, 20 are needed"
    assert told[-1] == "late: skipped: 10 s were left, 20 are needed"

    def interrupted() -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_steps([Step("interrupted", interrupted)], Clock(9), told.append)


def test_a_card_that_no_tensorrt_here_builds_for_is_skipped_with_the_reason() -> None:
    toolbox = cli._toolbox((H100,))
    engines = Engines(ROOT, "edsr_baseline_x3", CARDS["h100"], toolbox, "fp16", lambda _: None)
    if toolbox.tensorrt:
        pytest.skip("TensorRT itself is installed")
    with pytest.raises(SkipStep, match="cannot be built here"):
        engines.build()
    for step in (engines.verify, engines.concurrency):
        with pytest.raises(SkipStep, match="no engine"):
            step()


def test_no_more_instances_than_the_memory_holds() -> None:
    for key in ("t4", "h100", "gtx-1650"):
        plan = make_plan(CARDS[key], SMALL, "fp16")
        count = instances_that_fit(plan)
        assert 1 <= count <= 3
        assert count == 1 or plan.server_bytes + count * plan.instance_bytes <= plan.budget_bytes


def test_a_step_is_given_the_time_that_the_plan_expects() -> None:
    toolbox = cli._toolbox((H100,))
    small, large = (Engines(ROOT, m, CARDS["t4"], toolbox, "fp16", print) for m in ("edsr_baseline_x3", "edsr_x3"))
    assert 40 < small.verify_s() < large.verify_s() < cli.LIMIT_S
    assert 20 < small.concurrency_s() < large.concurrency_s() < cli.LIMIT_S


def test_several_at_once_are_counted_together() -> None:
    calls: list[int] = []
    rate = at_once([lambda: calls.append(1), lambda: calls.append(2)], 5)
    assert (calls.count(1), calls.count(2)) == (6, 6)
    assert rate["per_second"] > 0


def test_peaks_are_known_only_of_cards_that_somebody_described() -> None:
    assert cli.has_peaks(CARDS["h100"], H100)
    unknown = Device(0, "NVIDIA Something", "9.0", 8000)
    assert not cli.has_peaks(CARDS["h100"], unknown)


def test_the_page_shows_the_figures_that_are_kept() -> None:
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    results = read_results(ROOT, "gpu-*.json")
    again = "run `python -m edsr_perf gpu --render-only`"
    assert with_section(text, page.MARKER, page.section(results)) == text, again
    assert all(problems(result) == [] for result in results)
    assert page.section([]).startswith("Not measured")


def test_the_network_in_pytorch_computes_what_the_served_file_does() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import onnx
    from edsr_perf.gpu.torch_network import Network, read_weights
    from onnx.reference import ReferenceEvaluator

    path = ROOT / "model_repository" / "edsr_baseline_x3" / "1" / "model.onnx"
    if not path.is_file():
        pytest.skip("edsr_baseline_x3 is not built: `make onnx`")
    weights = read_weights(path)
    assert (weights.blocks, weights.filters, weights.scale) == (16, 64, 3)
    picture = np.random.default_rng(0).integers(0, 256, (2, 11, 7, 3), dtype=np.uint8)
    (exact,) = ReferenceEvaluator(onnx.load(path)).run(None, {"image": picture})
    with torch.inference_mode():
        single = Network(weights)(torch.from_numpy(picture)).numpy()
        half = Network(weights, torch.float16)(torch.from_numpy(picture)).numpy()
    assert single.shape == exact.shape
    assert np.abs(single.astype(int) - exact).max() <= 1
    assert np.count_nonzero(single != exact) <= 0.001 * exact.size
    assert np.abs(half.astype(int) - exact).max() <= 2


def test_what_is_no_serving_graph_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import onnx
    from edsr_perf.gpu.torch_network import read_weights
    from onnx import TensorProto, helper

    with pytest.raises(PerfError, match="Cannot read"):
        read_weights(tmp_path / "none.onnx")
    given, answer = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [given], [answer])
    onnx.save(helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(PerfError, match="not the serving graph"):
        read_weights(tmp_path / "other.onnx")


def test_the_reference_goes_on_to_the_largest_that_fits_and_says_why_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from edsr_perf.gpu import reference
    from edsr_perf.gpu.torch_network import Weights

    def conv(out: int, channels: int) -> tuple[Any, Any]:
        return np.zeros((out, channels, 3, 3), np.float32), np.zeros(out, np.float32)

    weights = Weights([conv(4, 3), conv(4, 4), conv(4, 4), conv(4, 4), conv(12, 4)], np.zeros(3, np.float32))
    assert (weights.blocks, weights.filters, weights.scale) == (1, 4, 2)
    now = Ticking()

    def one(_: object, side: int, device: str) -> dict[str, Any]:
        now.seconds += side / 100
        if side > 1024:
            raise RuntimeError("CUDA out of memory.\n Tried to allocate 20 GiB")
        return {"compute_ms": float(side)}

    monkeypatch.setattr(reference, "_one", one)
    assert list(reference.sides()) == [64, 128, 256, 512, 1024, 1440, 2048, 2880, 4096, 8192]
    told = reference.measure(weights, Clock(400, now), "cpu")
    assert list(told["shapes"]) == ["64x64", "128x128", "256x256", "512x512", "1024x1024"]
    assert told["ended"] == "1440x1440: CUDA out of memory. Tried to allocate 20 GiB"
    now.seconds = 0
    told = reference.measure(weights, Clock(20, now), "cpu")
    assert told["ended"] == "1024x1024 was not tried: 10 s were left of the time"
