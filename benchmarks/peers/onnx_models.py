"""Graphs of one LSTM, GRU or RNN operator, as onnxruntime and `nblstm.onnx` are given them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers.work import Data, Work
from benchmarks.shapes import GATES

#: The place, among torch's gates, of each of ONNX's: i o f c, and z r h.
ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}


def _initializers(work: Work, data: Data) -> dict[str, np.ndarray]:
    def reordered(name):
        value = data.weights[f"{name}_l0"]
        return value.reshape(GATES[work.cell], work.H, -1)[list(ORDER[work.cell])].reshape(value.shape)

    bias = np.concatenate([reordered("bias_ih"), reordered("bias_hh")])
    return {"W": reordered("weight_ih")[None], "R": reordered("weight_hh")[None], "B": bias[None]}


def final_and_initial(work: Work) -> tuple[list[str], list[str]]:
    """Names of the operator's final states and of its initial ones."""
    if work.cell == "lstm":
        return ["Y_h", "Y_c"], ["initial_h", "initial_c"]
    return ["Y_h"], ["initial_h"]


def model(work: Work, data: Data, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    """A model with some of the operator's inputs (beside its weights) and outputs; the others are left out."""
    state = (1, work.B, work.H)
    shapes = {
        "X": (work.T, work.B, work.I), "sequence_lens": (work.B,), "initial_h": state, "initial_c": state,
        "Y": (work.T, 1, work.B, work.H), "Y_h": state, "Y_c": state,
    }  # fmt: skip

    def declared(name):
        kind = TensorProto.INT32 if name == "sequence_lens" else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, shapes[name])

    fixed, states = _initializers(work, data), 2 if work.cell == "lstm" else 1
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c"][: 5 + states]
    produced = [name if name in outputs else "" for name in ("Y", "Y_h", "Y_c")[: 1 + states]]
    options = {"linear_before_reset": 1} if work.cell == "gru" else {}
    node = helper.make_node(
        work.cell.upper(), [name if name in (*inputs, *fixed) else "" for name in names], produced,
        hidden_size=work.H, **options,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], work.cell, [declared(name) for name in inputs], [declared(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in fixed.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def arrays(result) -> dict[str, np.ndarray]:
    """Y and the final states as named arrays, for comparison."""
    y, *states = result
    return {"y": y[:, 0]} | {f"final state {k}": value for k, value in enumerate(states)}
