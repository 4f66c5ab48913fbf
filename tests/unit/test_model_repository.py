"""The committed configurations: rendered from the catalogues, parsed back, and free of what hurts."""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from edsr_conversion import ConversionError, load_models
from edsr_conversion.catalogue import Model
from edsr_conversion.cli import main
from edsr_conversion.gpu.cards import load_cards
from edsr_conversion.gpu.flavours import RTX, TENSORRT, supports_rtx
from edsr_conversion.gpu.planner import Plan, make_plan
from edsr_conversion.repository import (
    cpu_config,
    cpu_tile_px,
    gpu_config,
    network_size,
    remove,
    render,
    render_card,
    stale,
    write,
)
from edsr_perf.sections import read_results
from edsr_serving.variants import Variant
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model_repository"
MODELS, CARDS = load_models(ROOT, local=False), load_cards(ROOT, local=False)
CASES = [
    (name, key, flavour)
    for name in MODELS
    for key, card in CARDS.items()
    for flavour in (TENSORRT, RTX)
    if flavour == TENSORRT or supports_rtx(card)
]


def planned(name: str, key: str, flavour: str = TENSORRT) -> Plan:
    return make_plan(CARDS[key], network_size(MODELS[name]), "fp16", flavour)


def parse(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def said(config: model_config_pb2.ModelConfig) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


def test_the_committed_configurations_have_not_drifted() -> None:
    files = render(MODELS.values(), CARDS.values(), REPOSITORY)
    assert len(files) == len(MODELS) + len(CASES)
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run `make configs` and commit the result"
    # What a user renders for cards, models and precisions of his own is not tracked, and not looked at here.
    committed = [path for name in MODELS for path in (REPOSITORY / name / "configs").glob("*.pbtxt")]
    listed = [path for path in committed if path.stem.removesuffix("-rtx") in CARDS]
    assert {path for path in files if path.parent.name == "configs"} == set(listed)


@pytest.mark.parametrize("name", MODELS)
def test_a_cpu_configuration_parsed_back_says_what_the_catalogue_says(name: str) -> None:
    model = MODELS[name]
    config = parse(cpu_config(model))
    assert (config.name, config.backend) == (name, "openvino")
    assert list(config.input[0].dims) == list(config.output[0].dims) == [-1, -1, 3]
    assert config.input[0].data_type == config.output[0].data_type == model_config_pb2.TYPE_UINT8
    assert said(config)["scale"] == "3"
    assert said(config)["halo_px"] == str(2 * model.blocks + 3)
    assert said(config)["source_sha256"] == model.sha256
    assert said(config)["inputs"] == model.inputs
    assert not config.HasField("dynamic_batching")
    assert not config.HasField("sequence_batching")


@pytest.mark.parametrize(("name", "key", "flavour"), CASES)
def test_a_gpu_configuration_parsed_back_is_the_plan(name: str, key: str, flavour: str) -> None:
    plan, model = planned(name, key, flavour), MODELS[name]
    config = parse(gpu_config(model, plan))
    assert config.name == name
    assert config.default_model_filename == f"{Variant(key, flavour=flavour).name}.plan"
    if flavour == TENSORRT:
        assert config.platform == "tensorrt_plan"
        strategy = "STATIC" if len({profile.max_px for profile in plan.profiles}) == 1 else "ON_PROFILE_CHANGE"
        assert said(config)["execution_context_allocation_strategy"] == strategy
    else:
        assert config.backend == "tensorrt_rtx"
    assert config.max_batch_size == 1
    assert config.input[0].data_type == config.output[0].data_type == model_config_pb2.TYPE_UINT8
    (group,) = config.instance_group  # Triton gives a request to any free instance: all must hold every profile
    assert group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert group.count == plan.instances
    # Triton refuses the field for other backends than its own; tensorrt_rtx uses every profile of the engine.
    assert list(group.profile) == ([str(index) for index in range(len(plan.profiles))] if flavour == TENSORRT else [])
    shapes = [tuple(map(int, text.split("x"))) for text in said(config)["max_shapes"].split(",")]
    assert shapes == [profile.max_hw for profile in plan.profiles if profile.name != "small"]
    warm = [tuple(sample.inputs["image"].dims) for sample in config.model_warmup]
    small = [(512, 512)] * (len(plan.profiles) - len(shapes))
    assert warm == [(*shape, 3) for shape in (*shapes, *small)]
    assert said(config)["tile"] == f"{plan.side}x{plan.side}"
    assert said(config)["halo_px"] == str(2 * model.blocks + 3)
    assert said(config)["source_sha256"] == model.sha256
    assert said(config)["inputs"] == model.inputs
    assert said(config)["precision"] == "fp16"
    fits = int(said(config)["planned_model_mib"]) + int(said(config)["planned_server_mib"])
    assert fits <= int(said(config)["vram_budget_mib"]) + 2  # each is rounded up
    assert config.optimization.cuda.graphs == plan.cuda_graphs
    assert config.optimization.cuda.output_copy_stream == plan.output_copy_stream
    assert not config.response_cache.enable
    assert not config.HasField("dynamic_batching")


def test_a_configuration_follows_what_its_engine_needs() -> None:
    plan = planned("edsr_baseline_x3", "h100")
    larger = plan.following([size + 2**30 for size in plan.context_sizes])
    files = render_card(MODELS["edsr_baseline_x3"], CARDS["h100"], "fp16", REPOSITORY, larger)
    (told,) = (said(parse(text)) for text in files.values())
    expected = planned("edsr_baseline_x3", "h100").instance_bytes / 2**20 + 1024 * len(plan.profiles)
    assert int(told["planned_model_mib"]) == pytest.approx(expected, abs=1)


def test_cuda_graphs_are_captured_for_the_tile_where_launches_are_visible_and_there_is_no_other_profile() -> None:
    model = MODELS["edsr_baseline_x3"]
    card = replace(CARDS["rtx-5090"], fp16_tflops=5000, bandwidth_gb_s=20_000, vram_mib=2200)
    plans = [make_plan(card, network_size(model), "fp16", flavour) for flavour in (TENSORRT, RTX)]
    ours, theirs = (parse(gpu_config(model, plan)).optimization.cuda for plan in plans)
    assert ours.graphs
    assert theirs.graphs
    assert list(ours.graph_spec[0].input["image"].dim) == [plans[0].side, plans[0].side, 3]
    assert not theirs.graph_spec
    assert not planned("edsr_baseline_x3", "b200").cuda_graphs


def test_rendering_twice_changes_nothing_and_what_is_listed_no_more_is_found(tmp_path: Path) -> None:
    files = render(MODELS.values(), CARDS.values(), tmp_path)
    assert sorted(write(files)) == sorted(files)
    assert write(files) == []
    assert stale(files, tmp_path) == []
    fewer = render(list(MODELS.values())[:1], [CARDS["t4"]], tmp_path)
    own = tmp_path / "edsr_x3" / "configs" / "by-hand.pbtxt"
    own.write_text('name: "edsr_x3"\n', encoding="utf-8")
    assert set(stale(fewer, tmp_path)) == files.keys() - fewer.keys()


def test_what_an_engine_or_another_precision_of_a_listed_card_needs_is_not_stale(tmp_path: Path) -> None:
    model, card = MODELS["edsr_x3"], CARDS["t4"]
    found, gone = replace(card, key="rtx-3060-8gb"), replace(card, key="gone")
    for precision in ("fp16", "fp32"):
        for each in (card, found, gone):
            write(render_card(model, each, precision, tmp_path))
    write(render([MODELS["edsr_baseline_x3"]], [found], tmp_path))
    for name in ("edsr_x3", "edsr_baseline_x3"):
        (tmp_path / name / "1").mkdir()
        (tmp_path / name / "1" / "rtx-3060-8gb-fp32-rtx.plan").write_bytes(b"plan")
    listed = render([model], [card], tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in stale(listed, tmp_path)}
    assert names == {
        *(f"edsr_x3/configs/gone{rest}.pbtxt" for rest in ("", "-rtx", "-fp32", "-fp32-rtx")),
        *(f"edsr_baseline_x3/configs/rtx-3060-8gb{rest}.pbtxt" for rest in ("", "-rtx")),  # the model is gone
        "edsr_baseline_x3/config.pbtxt",
    }


def test_a_configuration_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "edsr_x3" / "configs" / "t4.pbtxt"
    write({path: "before"})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(ConversionError, match=r"Cannot write .*t4\.pbtxt: No space left"):
            write({path: "after"})
    assert [each.name for each in path.parent.iterdir()] == ["t4.pbtxt"]
    assert path.read_text("utf-8") == "before"


def test_configurations_that_cannot_be_read_or_removed_are_one_line_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model_repository" / "edsr_x3" / "configs"
    (tmp_path / "models").mkdir()
    for name in ("gpus.toml", "models/models.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
    folder.mkdir(parents=True)

    def configs(code: int, words: str) -> None:
        assert main(["--root", str(tmp_path), "configs"]) == code
        told = capsys.readouterr()
        assert words in told.out + told.err
        assert (told.err.count("\n") == 1) == bool(code), told.err

    (folder / "dangling.pbtxt").symlink_to("nowhere")
    configs(1, "error: Cannot read")
    (folder / "dangling.pbtxt").unlink()
    (folder / "odd.pbtxt").mkdir()
    configs(1, "Is a directory")
    (folder / "odd.pbtxt").rmdir()
    (folder / "t4.pbtxt").mkdir()
    configs(1, "t4.pbtxt: Is a directory")
    (folder / "t4.pbtxt").rmdir()
    (folder / "t4.pbtxt").symlink_to("nowhere")
    (folder / "l4.pbtxt").write_bytes(b"\xff\xfe no text")
    (folder / "own.pbtxt").write_bytes(b"\xff\xfe no text")
    configs(0, "l4.pbtxt")
    assert (folder / "own.pbtxt").exists()
    assert {(folder / f"{key}.pbtxt").read_text("utf-8")[0] for key in ("t4", "l4")} == {"#"}
    with pytest.raises(ConversionError, match="Cannot remove"):
        remove(folder)


def test_a_card_nothing_fits_has_no_configuration(tmp_path: Path) -> None:
    tiny = replace(CARDS["t4"], vram_mib=800)
    assert render_card(MODELS["edsr_x3"], tiny, "fp16", tmp_path) == {}


def test_names_of_configurations_survive_a_command_line() -> None:
    for name, key, flavour in CASES:
        assert re.fullmatch(r"[a-z0-9.-]+", Variant(key, flavour=flavour).name), (name, key)


@pytest.mark.parametrize("name", MODELS)
def test_the_default_halo_is_the_measured_one_else_the_exact_one(name: str) -> None:
    found = [read["smallest_good_halo_px"] for read in read_results(ROOT, f"halo-{name}-*.json")]
    expected = max(found, default=2 * MODELS[name].blocks + 3)
    assert said(parse(cpu_config(MODELS[name])))["default_halo_px"] == str(expected)


@pytest.mark.parametrize(
    ("filters", "blocks", "limit", "side"), [(64, 16, 2048**2, 1152), (256, 32, 1024**2, 1024), (8, 1, 50, 7)]
)
def test_tiles_on_a_cpu_suit_memory_halo_and_limit(filters: int, blocks: int, limit: int, side: int) -> None:
    model = Model("m", Path("m.pb"), "a" * 64, blocks, filters, 3, max_lr_pixels=limit)
    assert cpu_tile_px(model) == side
