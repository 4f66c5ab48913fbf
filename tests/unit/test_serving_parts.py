"""The pure parts of the server: command line, processor, log, repository."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from edsr_serving import NothingToServeError, ServerOptions
from edsr_serving.cpu import has_int8, inference_precision, quota_cpus, usable_cpus
from edsr_serving.log import readable, reasons
from edsr_serving.options import command
from edsr_serving.repository import INT8_FILE, choose, find_models, int8_quality, lay_out_view


def test_the_command_line_binds_every_service_and_takes_no_load_requests() -> None:
    options = ServerOptions(http_port=1, grpc_port=2, metrics_port=3)
    line = command(Path("/t/tritonserver"), options, Path("/r"), Path("/b"), "edsr7")
    assert {f"--{service}-address=127.0.0.1" for service in ("http", "grpc", "metrics")} <= set(line)
    assert {"--http-port=1", "--grpc-port=2", "--metrics-port=3", "--model-control-mode=none"} <= set(line)


@pytest.mark.parametrize(
    ("address", "public", "host"),
    [("127.0.0.1", False, "127.0.0.1"), ("0.0.0.0", True, "127.0.0.1"), ("10.0.0.7", True, "10.0.0.7")],  # noqa: S104
)
def test_an_address_others_can_reach_is_known_as_public(address: str, public: bool, host: str) -> None:
    options = ServerOptions(address=address)
    assert (options.is_public, options.host) == (public, host)


@pytest.mark.parametrize(("text", "cpus"), [("200000 100000\n", 2), ("150000 100000", 2), ("50000 100000", 1)])
def test_a_cpu_quota_is_rounded_up_to_whole_cores(text: str, cpus: int) -> None:
    assert quota_cpus(text) == cpus


def test_no_quota_leaves_the_affinity() -> None:
    with pytest.raises(ValueError, match="max"):
        quota_cpus("max 100000")
    assert usable_cpus() >= 1


def test_bfloat16_is_chosen_only_where_it_is_native() -> None:
    assert inference_precision("auto", ["FP32", "BF16", "INT8"]) == "bf16"
    assert inference_precision("auto", ["FP32", "INT8"]) == "f32"
    assert inference_precision("f32", ["BF16"]) == "f32"
    with pytest.raises(ValueError, match="fp16"):
        inference_precision("fp16", [])


GOOD = {"drop_db": 0.04, "graphics_psnr_db": 45.0}


@pytest.mark.parametrize(
    ("int8", "quality", "chosen"),
    [
        (True, GOOD, "int8"),
        (False, GOOD, "bf16"),
        (True, None, "bf16"),
        (True, {**GOOD, "drop_db": 0.06}, "bf16"),
        (True, {**GOOD, "graphics_psnr_db": 30.0}, "bf16"),
        (True, {}, "bf16"),
    ],
)
def test_8_bits_are_chosen_only_where_they_are_faster_and_good_enough(
    int8: bool, quality: dict[str, float] | None, chosen: str
) -> None:
    assert inference_precision("auto", ["BF16"], int8, quality) == chosen
    assert inference_precision("int8", ["BF16"], int8, quality) == "int8"


def test_instructions_for_8_bits_are_found_in_cpuinfo() -> None:
    assert has_int8("processor : 0\nflags\t\t: fpu avx512_vnni amx_int8\nbugs : amx_int8\n")
    assert not has_int8("flags\t\t: fpu avx2\nbugs : avx_vnni\n")
    assert not has_int8("")


def test_a_log_line_becomes_short_and_tables_vanish() -> None:
    line = "I1123 08:08:42.161786 3813 model_lifecycle.cc:849] \"successfully loaded 'm'\"\n"
    assert readable(line) == "08:08:42 successfully loaded 'm'"
    assert readable('E1123 08:08:42.1 3 x.cc:1] "bad"\n') == "08:08:42 error: bad"
    for noise in ("+-----+\n", "| m | 1 |\n", "\n", 'W1123 08:00:00.1 1 p.cc:2] "CUDA memory pool is disabled"'):
        assert readable(noise) is None
    assert readable("a line of a backend\n") == "a line of a backend"


def test_reasons_are_the_distinct_errors_without_stack_traces() -> None:
    text = (
        "E1123 08:08:42.1 1 a.cc:1] \"failed to load 'm': no file\\n\\nAt:\\n  model.py(15)\"\n"
        'I1123 08:08:42.1 1 a.cc:1] "fine"\n'
        "E1123 08:08:42.2 1 b.cc:1] \"failed to load 'm': no file\\n\\nAt:\\n  model.py(15)\"\n"
    )
    assert reasons(text) == "failed to load 'm': no file."
    assert reasons("") == ""


def build(repository: Path, name: str, content: bytes = b"onnx") -> Path:
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        'parameters {\n  key: "source_sha256"\n  value {\n    string_value: "' + "a" * 64 + '"\n  }\n}\n', "utf-8"
    )
    (folder / "1" / "model.onnx").write_bytes(content)
    sidecar = {"model": {"sha256": hashlib.sha256(content).hexdigest()}, "source": {"sha256": "a" * 64}}
    (folder / "1" / "model.json").write_text(json.dumps(sidecar), "utf-8")
    return folder


def test_a_built_model_is_servable_and_the_others_say_why_not(tmp_path: Path) -> None:
    build(tmp_path, "good")
    (build(tmp_path, "absent") / "1" / "model.onnx").unlink()
    (build(tmp_path, "partial") / "1" / "model.onnx").write_bytes(b"on")
    (build(tmp_path, "bare") / "1" / "model.json").unlink()
    other = build(tmp_path, "stale") / "1" / "model.json"
    other.write_text(other.read_text("utf-8").replace("a" * 64, "b" * 64), "utf-8")
    problems = {model.name: model.problem for model in find_models(tmp_path)}
    assert problems.pop("good") == ""
    assert "not built" in problems["absent"]
    assert "not the file" in problems["partial"]
    assert "missing or damaged" in problems["bare"]
    assert "another graph" in problems["stale"]
    assert [model.name for model in choose(find_models(tmp_path), ())] == ["good"]


def test_a_named_model_must_exist_and_be_built(tmp_path: Path) -> None:
    (build(tmp_path, "absent") / "1" / "model.onnx").unlink()
    models = find_models(tmp_path)
    with pytest.raises(NothingToServeError, match="There are: absent"):
        choose(models, ("other",))
    with pytest.raises(NothingToServeError, match=r"absent cannot be served: model\.onnx is not built"):
        choose(models, ("absent",))
    with pytest.raises(NothingToServeError, match="make onnx"):
        choose(models, ())


def test_no_repository_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(NothingToServeError, match="nowhere"):
        find_models(tmp_path / "nowhere")


def test_a_view_holds_the_chosen_models_with_what_was_decided_at_the_start(tmp_path: Path) -> None:
    build(tmp_path / "repository", "good")
    build(tmp_path / "repository", "other")
    view = tmp_path / "view"
    for _ in range(2):  # a view of an earlier run is replaced
        lay_out_view({find_models(tmp_path / "repository")[0]: {"cpus": "2"}}, view)
    assert [path.name for path in view.iterdir()] == ["good"]
    assert (view / "good" / "1" / "model.onnx").read_bytes() == b"onnx"
    assert 'key: "cpus"' in (view / "good" / "config.pbtxt").read_text("utf-8")


def test_a_view_of_8_bits_names_their_file(tmp_path: Path) -> None:
    build(tmp_path / "repository", "good")
    config = tmp_path / "repository" / "good" / "config.pbtxt"
    config.write_text('default_model_filename: "model.onnx"\n', "utf-8")
    model = find_models(tmp_path / "repository")[0]
    lay_out_view({model: {"inference_precision": "int8"}}, tmp_path / "view")
    text = (tmp_path / "view" / "good" / "config.pbtxt").read_text("utf-8")
    assert 'default_model_filename: "model.int8.onnx"' in text
    assert "model.onnx" not in text


def test_an_8_bit_file_is_taken_only_if_it_is_whole_and_of_this_model(tmp_path: Path) -> None:
    folder = build(tmp_path, "good") / "1"
    model = find_models(tmp_path)[0]

    def sidecar(**changed: object) -> None:
        digest = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model.onnx", INT8_FILE)}
        said = {"model": {"sha256": digest[INT8_FILE]}, "made_from": {"sha256": digest["model.onnx"]}, "quality": GOOD}
        (folder / "model.int8.json").write_text(json.dumps({**said, **changed}), "utf-8")

    with pytest.raises(NothingToServeError, match="make int8 MODEL=good"):
        int8_quality(model)
    (folder / INT8_FILE).write_bytes(b"bytes")
    sidecar()
    assert int8_quality(model) == GOOD
    changes: list[dict[str, object]] = [
        {"model": {"sha256": "0"}},
        {"quality": {"drop_db": "none"}},
        {"quality": []},
        {"model": None},
    ]
    for changed in changes:  # each in turn
        sidecar(**changed)
        with pytest.raises(NothingToServeError, match="damaged"):
            int8_quality(model)
    sidecar(made_from={"sha256": "0"})
    with pytest.raises(NothingToServeError, match=r"another model\.onnx"):
        int8_quality(model)
    (folder / "model.int8.json").write_text("{", "utf-8")
    with pytest.raises(NothingToServeError, match="damaged"):
        int8_quality(model)
