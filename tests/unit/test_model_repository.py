"""The committed configurations: rendered from models.toml, parsed back, and free of what hurts."""

from __future__ import annotations

from pathlib import Path

import pytest
from edsr_conversion import load_models
from edsr_conversion.repository import cpu_config, write_configs
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

NAMES = ("edsr_x3", "edsr_baseline_x3")


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_configuration_has_not_drifted(root: Path, name: str) -> None:
    committed = (root / "model_repository" / name / "config.pbtxt").read_text(encoding="utf-8")
    assert committed == cpu_config(load_models(root)[name]), "run `make configs` and commit the result"


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_parsed_back_says_what_the_catalogue_says(root: Path, name: str) -> None:
    model = load_models(root)[name]
    config = text_format.Parse(cpu_config(model), model_config_pb2.ModelConfig())
    assert (config.name, config.backend) == (name, "openvino")
    assert list(config.input[0].dims) == list(config.output[0].dims) == [-1, -1, 3]
    assert config.input[0].data_type == config.output[0].data_type == model_config_pb2.TYPE_UINT8
    said = {key: value.string_value for key, value in config.parameters.items()}
    assert said["scale"] == "3"
    assert said["halo_px"] == str(2 * model.blocks + 3)
    assert said["source_sha256"] == model.sha256
    assert not config.HasField("dynamic_batching")
    assert not config.HasField("sequence_batching")


def test_rendering_twice_changes_nothing(root: Path, tmp_path: Path) -> None:
    models = list(load_models(root).values())
    assert len(write_configs(models, tmp_path)) == len(models)
    assert write_configs(models, tmp_path) == []
