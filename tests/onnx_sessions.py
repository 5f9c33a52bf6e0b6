"""ONNX models as onnxruntime runs them: the oracle of what is exported."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx, the extra 'onnx'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, which runs what is exported")


def session(made):
    """A session of a model that onnx's checker has passed; onnxruntime's warnings would be of nodes in vain."""
    onnx.checker.check_model(made, full_check=True)
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def outputs(made, **inputs):
    """All outputs, by name."""
    running = session(made)
    found = running.run(None, {name.replace("__", "."): np.asarray(value) for name, value in inputs.items()})
    return dict(zip([output.name for output in running.get_outputs()], found, strict=True))


def operators(made):
    """The operators of a model that recur."""
    return [node.op_type for node in made.graph.node if node.op_type in ("LSTM", "GRU", "RNN", "Scan")]
