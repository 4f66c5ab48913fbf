"""ONNX Runtime on the CPU, float32, on the very model.onnx that is served."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..protocol import Method, serve

PACKAGES = ("onnxruntime", "numpy")


def load(command: dict[str, Any]) -> Method:
    """A session on all cores with every optimisation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = command["threads"]
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Its threads would go on spinning after a run, and disturb whatever is measured next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(command["onnx"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Method(
        lambda picture: session.run(None, {name: picture})[0],
        lambda picture: np.ascontiguousarray(picture[None]),
        lambda result: result[0],
        precision="f32",
        threads=command["threads"],
    )


if __name__ == "__main__":
    serve(load, PACKAGES)
