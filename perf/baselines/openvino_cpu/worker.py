"""OpenVINO in-process on the served file, compiled with the options of the served backend: no server between."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..protocol import Method, serve

PACKAGES = ("openvino", "numpy")


def load(command: dict[str, Any]) -> Method:
    """One stream on all cores; `precision` is OpenVINO's hint, f32 or bf16, or int8 for a file that is quantised."""
    import openvino as ov

    core = ov.Core()
    hints: dict[str, Any] = {
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": command["threads"],
    }
    if command["precision"] != "int8":
        hints["INFERENCE_PRECISION_HINT"] = command["precision"]
    compiled = core.compile_model(core.read_model(command["onnx"]), "CPU", hints)
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
