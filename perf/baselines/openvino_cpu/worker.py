"""OpenVINO in-process on the served file, changed and compiled as the served backend does: no server."""

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
    model = core.read_model(command["onnx"])
    if command["precision"] != "f32":
        from edsr_serving.openvino_graph import answer_in_integers

        answer_in_integers(model)
    compiled = core.compile_model(model, "CPU", hints)
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
