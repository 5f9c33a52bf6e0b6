"""nblstm as it runs ONNX models, as a contender: the graphs that onnxruntime is given."""

from __future__ import annotations

from functools import cached_property

import numpy as np

import nblstm.onnx
from benchmarks.peers import nblstm_, onnx_models
from benchmarks.peers.work import Data, Work


def start(threads: int) -> dict[str, str]:
    """Set the number of threads; versions of what will compute."""
    return nblstm_.start(threads)


class Contender:
    """Each method is one piece of work, timed as it stands."""

    def __init__(self, work: Work, data: Data, training: bool):
        self.work, self.data = work, data
        self.outputs = ["Y", *onnx_models.final_and_initial(work)[0]]
        self.lengths = data.lengths.astype(np.int32)

    @cached_property
    def _sequence(self):
        return nblstm.onnx.load(onnx_models.model(self.work, self.data, ["X"], self.outputs))

    def inference(self):
        return self._sequence(self.data.x)

    @cached_property
    def _ragged(self):
        return nblstm.onnx.load(onnx_models.model(self.work, self.data, ["X", "sequence_lens"], self.outputs))

    def ragged(self):
        return self._ragged(self.data.x, self.lengths)

    def arrays(self, method: str, result) -> dict[str, np.ndarray]:
        """A result as named arrays, for comparison."""
        return onnx_models.arrays(result)
