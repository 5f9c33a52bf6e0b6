"""Random LSTM, GRU and RNN nodes of ONNX over all attributes, and what onnxruntime computes of them."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

onnxruntime.set_default_logger_severity(4)

ACTIVATIONS = {
    "Relu": 0, "Tanh": 0, "Sigmoid": 0, "Softsign": 0, "Softplus": 0, "LeakyRelu": 1, "ThresholdedRelu": 1, "Elu": 1,
    "Affine": 2, "ScaledTanh": 2, "HardSigmoid": 2,
}  # fmt: skip
USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
BLOCKS = {"LSTM": 4, "GRU": 3, "RNN": 1}
NAMES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


def random_node(seed, kind=None):
    """A node with random attributes and weights: operator, attributes, arrays by the names of inputs, outputs."""
    chance = np.random.default_rng(seed)
    kind = kind or str(chance.choice(list(BLOCKS)))
    T, B, I, H = (int(n) for n in chance.integers(1, (7, 5, 5, 9)))
    direction = str(chance.choice(["forward", "reverse", "bidirectional"]))
    D, G = 1 + (direction == "bidirectional"), BLOCKS[kind]
    attributes = {"hidden_size": H, "direction": direction}
    if chance.random() < 0.7:
        one = [str(name) for name in chance.choice(list(ACTIVATIONS), len(USUAL[kind]))]
        names = one * D if chance.random() < 0.5 else [str(n) for n in chance.choice(list(ACTIVATIONS), D * len(one))]
        attributes["activations"] = names
        takes = [ACTIVATIONS[name] for name in names]
        for name, least in (("activation_alpha", 1), ("activation_beta", 2)):
            values = [float(value) for value in chance.uniform(0.1, 0.9, sum(n >= least for n in takes)).round(2)]
            if values:
                attributes[name] = values
    if chance.random() < 0.3:
        attributes["clip"] = float(chance.choice([0.25, 0.5, 2.0]))
    if kind == "LSTM" and chance.random() < 0.3:
        attributes["input_forget"] = 1
    if kind == "GRU" and chance.random() < 0.5:
        attributes["linear_before_reset"] = 1

    def normal(*shape):
        return chance.normal(scale=0.4, size=shape).astype(np.float32)

    arrays = {"X": normal(T, B, I), "W": normal(D, G * H, I), "R": normal(D, G * H, H)}
    optional = {
        "B": lambda: normal(D, 2 * G * H), "sequence_lens": lambda: chance.integers(0, T + 1, B).astype(np.int32),
        "initial_h": lambda: normal(D, B, H),
    }  # fmt: skip
    if kind == "LSTM":
        optional |= {"initial_c": lambda: normal(D, B, H), "P": lambda: normal(D, 3 * H)}
    arrays |= {name: make() for name, make in optional.items() if chance.random() < 0.5}
    outputs = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    kept = [name if chance.random() < 0.7 else "" for name in outputs]
    while kept and not kept[-1]:
        kept.pop()
    return kind, attributes, arrays, kept or ["Y"]


def model_of(kind, attributes, arrays, outputs, constant=("W", "R", "B", "P"), opset=14, dtype=np.float32, graph=None):
    """A model of one node, with some inputs as constants."""
    used = [name if name in arrays else "" for name in NAMES[: 8 if kind == "LSTM" else 6]]
    while not used[-1]:
        used.pop()
    real = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def declared(name):
        type_ = TensorProto.INT32 if name == "sequence_lens" else real
        return helper.make_tensor_value_info(name, type_, [None] * arrays[name].ndim)

    node = helper.make_node(kind, used, outputs, name="the node", **attributes)
    graph = helper.make_graph(
        [node], "g", [declared(name) for name in used if name and name not in constant],
        [helper.make_tensor_value_info(name, real, None) for name in outputs if name],
        [numpy_helper.from_array(arrays[name], name) for name in used if name in constant],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def inputs_of(model, arrays):
    return {info.name: arrays[info.name] for info in model.graph.input}


def runtimes(model, arrays):
    """The outputs of onnxruntime."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs_of(model, arrays))


def as_tuple(results):
    return tuple(results) if isinstance(results, tuple | list) else (results,)


__all__ = ["as_tuple", "inputs_of", "model_of", "onnx", "random_node", "runtimes"]
