"""ONNX Runtime as a contender: a graph of one LSTM, GRU or RNN operator. It has no training."""

from __future__ import annotations

from functools import cached_property, partial
from itertools import cycle

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers.work import Data, Work
from benchmarks.shapes import GATES

#: The place, among torch's gates, of each of ONNX's: i o f c, and z r h.
ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
THREADS = 1


def start(threads: int) -> dict[str, str]:
    """Set the number of threads; versions of what will compute."""
    global THREADS
    THREADS = threads
    return {"onnxruntime": onnxruntime.__version__}


def _initializers(work: Work, data: Data) -> dict[str, np.ndarray]:
    def reordered(name):
        value = data.weights[f"{name}_l0"]
        return value.reshape(GATES[work.cell], work.H, -1)[list(ORDER[work.cell])].reshape(value.shape)

    bias = np.concatenate([reordered("bias_ih"), reordered("bias_hh")])
    return {"W": reordered("weight_ih")[None], "R": reordered("weight_hh")[None], "B": bias[None]}


def _session(work: Work, data: Data, inputs: list[str], outputs: list[str]) -> onnxruntime.InferenceSession:
    """A session with some of the operator's inputs (beside its weights) and outputs; the others are left out."""
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = THREADS, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


class Contender:
    """Each method is one piece of work, timed as it stands."""

    def __init__(self, work: Work, data: Data, training: bool):
        self.work, self.data = work, data
        self.final = ["Y_h", "Y_c"] if work.cell == "lstm" else ["Y_h"]
        self.initial = ["initial_h", "initial_c"] if work.cell == "lstm" else ["initial_h"]
        self.lengths = data.lengths.astype(np.int32)

    @cached_property
    def _sequence(self):
        return _session(self.work, self.data, ["X"], ["Y", *self.final])

    def inference(self):
        return self._sequence.run(None, {"X": self.data.x})

    @cached_property
    def _ragged(self):
        return _session(self.work, self.data, ["X", "sequence_lens"], ["Y", *self.final])

    def ragged(self):
        return self._ragged.run(None, {"X": self.data.x, "sequence_lens": self.lengths})

    @cached_property
    def _steps(self):
        """Two bindings that take turns: each reads the states that the other wrote."""
        session = _session(self.work, self.data, ["X", *self.initial], self.final)
        self._x = np.empty_like(self.data.x)
        x = onnxruntime.OrtValue.ortvalue_from_numpy(self._x)  # reads that array's memory
        zeros = np.zeros_like(self.data.state[0])
        states = [[onnxruntime.OrtValue.ortvalue_from_numpy(zeros.copy()) for _ in self.final] for _ in range(2)]
        bindings = []
        for before, after in (states, states[::-1]):
            binding = session.io_binding()
            binding.bind_ortvalue_input("X", x)
            for k, (name_in, name_out) in enumerate(zip(self.initial, self.final, strict=True)):
                binding.bind_ortvalue_input(name_in, before[k])
                binding.bind_ortvalue_output(name_out, after[k])
            bindings.append((partial(session.run_with_iobinding, binding), after[0]))
        return cycle(bindings)

    def step(self):
        """Bound memory: at H = 64 that takes 7 us instead of the 12 us of passing arrays."""
        run, y = next(self._steps)
        np.copyto(self._x, self.data.x)
        run()
        return y

    def arrays(self, method: str, result) -> dict[str, np.ndarray]:
        """A result as named arrays, for comparison."""
        if method == "step":
            return {"y": result.numpy()[0]}
        y, *states = result
        return {"y": y[:, 0]} | {f"final state {k}": value for k, value in enumerate(states)}
