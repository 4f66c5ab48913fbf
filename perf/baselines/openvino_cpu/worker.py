"""OpenVINO in-process on the served file, changed and compiled as the served backend does: no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..protocol import Method, serve

PACKAGES = ("openvino", "numpy")


def load(command: dict[str, Any]) -> Method:
    """One stream on all cores; `precision` is OpenVINO's hint, f32 or bf16, or int8 for a file that is quantised."""
    from edsr_serving.openvino_model import compile_for_cpu

    compiled = compile_for_cpu(Path(command["onnx"]), command["precision"], command["threads"])
    infer = compiled.create_infer_request()

    def upscale(picture: Any) -> Any:
        infer.infer({0: picture}, share_inputs=True, share_outputs=True)
        return infer.get_output_tensor(0).data

    return Method(
        upscale,
        lambda picture: np.ascontiguousarray(picture[None]),
        lambda result: result[0],
        precision=compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        threads=compiled.get_property("INFERENCE_NUM_THREADS"),
    )


if __name__ == "__main__":
    serve(load, PACKAGES)
