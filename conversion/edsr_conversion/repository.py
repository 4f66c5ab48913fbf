"""Renders config.pbtxt for Triton's model repository from models.toml, as protobuf text."""

from __future__ import annotations

from pathlib import Path

from .catalogue import Model
from .network import receptive_radius_px
from .serving_graph import INPUT, OUTPUT

CONFIG_FILE = "config.pbtxt"
HEADER = "# Rendered from models/models.toml by `make configs`; a test fails when the two differ.\n"
# EDSR is compute-bound: a batch costs what its pictures cost one by one. Batches only save round trips.
MAX_BATCH_SIZE = 8


def cpu_config(model: Model) -> str:
    """config.pbtxt of a model on a CPU: the `openvino` backend on model.onnx.

    No `dynamic_batching`: Triton's batcher can miss a wake-up and then sleeps 500 ms, and batching gains nothing here.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    config = model_config_pb2.ModelConfig(name=model.name, backend="openvino", max_batch_size=MAX_BATCH_SIZE)
    config.default_model_filename = "model.onnx"
    config.input.add(name=INPUT, data_type=model_config_pb2.TYPE_UINT8, dims=[-1, -1, 3])
    config.output.add(name=OUTPUT, data_type=model_config_pb2.TYPE_UINT8, dims=[-1, -1, 3])
    config.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
    for key, value in parameters(model).items():
        config.parameters[key].string_value = value
    return HEADER + text_format.MessageToString(config)


def parameters(model: Model) -> dict[str, str]:
    """What a client may want to know about a model, as Triton's `parameters`."""
    return {
        "blocks": str(model.blocks),
        "filters": str(model.filters),
        "halo_px": str(receptive_radius_px(model.blocks)),
        "max_lr_pixels": str(model.max_lr_pixels),
        "precision": "fp32",
        "scale": str(model.scale),
        "source": model.graph.name,
        "source_sha256": model.sha256,
    }


def write_configs(models: list[Model], repository: Path) -> list[Path]:
    """Render every model's configuration into `repository`; returns the files that changed."""
    changed = []
    for model in models:
        path = repository / model.name / CONFIG_FILE
        text = cpu_config(model)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed
