"""ONNX Runtime as a contender: a graph of one LSTM, GRU or RNN operator. It has no training."""

from __future__ import annotations

from functools import cached_property, partial
from itertools import cycle

import numpy as np
import onnxruntime

from benchmarks.peers import onnx_models
from benchmarks.peers.work import Data, Work

THREADS = 1


def start(threads: int) -> dict[str, str]:
    """Set the number of threads; versions of what will compute."""
    global THREADS
    THREADS = threads
    return {"onnxruntime": onnxruntime.__version__}


def _session(work: Work, data: Data, inputs: list[str], outputs: list[str]) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = THREADS, 1
    content = onnx_models.model(work, data, inputs, outputs).SerializeToString()
    return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])


class Contender:
    """Each method is one piece of work, timed as it stands."""

    def __init__(self, work: Work, data: Data, training: bool):
        self.work, self.data = work, data
        self.final, self.initial = onnx_models.final_and_initial(work)
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
        return onnx_models.arrays(result)
