"""Activations as nodes: ONNX's operator where there is one, else a local function of the equation."""

from __future__ import annotations

from typing import Any

from nblstm.activations import FUNCTIONS, ActivationFunction
from nblstm.onnx.exporting.equations import call_activation
from nblstm.onnx.exporting.graph_builder import GraphBuilder

#: ONNX's operators and their attributes, by Keras's names.
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}), "sigmoid": ("Sigmoid", {}), "tanh": ("Tanh", {}), "exponential": ("Exp", {}),
    "softmax": ("Softmax", {"axis": -1}), "log_softmax": ("LogSoftmax", {"axis": -1}),
    "elu": ("Elu", {"alpha": 1.0}), "selu": ("Selu", {}), "softplus": ("Softplus", {}), "softsign": ("Softsign", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}), "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_silu": ("HardSwish", {}),
}  # fmt: skip

#: Those of which onnxruntime has no float64; there the equations take their place.
ONLY_FLOAT32 = {"elu", "selu", "softplus", "softsign", "leaky_relu", "hard_sigmoid", "hard_silu"}


def add_activation(graph: GraphBuilder, label: str, activation: ActivationFunction, x: str, dtype: str) -> str:
    """Add ``activation(x)``; ``label`` names the layer in errors."""
    name = activation.name if FUNCTIONS.get(activation.name) is activation else None
    if name == "linear":
        return x
    if name in ACTIVATIONS and not (dtype == "float64" and name in ONLY_FLOAT32):
        operator, attributes = ACTIVATIONS[name]
        return graph.node(operator, x, hint=name, **attributes)
    if activation.scalar is None:
        raise ValueError(
            f"{label} has the activation {activation.name!r}, which is given as functions of arrays and has no "
            "equation that ONNX could be given; make it as ActivationFunction(name, scalar=...)"
        )
    return call_activation(graph, activation, x, dtype)
