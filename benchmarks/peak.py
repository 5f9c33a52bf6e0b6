"""How much of the cores' arithmetic the kernels use; the peak is measured in the same process, in turns."""

from __future__ import annotations

import statistics
import time

from benchmarks.networks import ready
from benchmarks.shapes import COMPUTE_BOUND, multiply_adds
from nblstm.cpu.threads import num_threads


def _seconds(call) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


class FractionOfPeak:
    """Multiply-adds of the matrix products alone, over what as many threads can do in registers."""

    params = tuple(COMPUTE_BOUND)
    param_names = ("shape",)
    unit = "fraction"
    timeout = 300

    def setup(self, shape):
        from benchmarks.fma_peak import multiply_add

        self.net, self.x, self.dy = ready(COMPUTE_BOUND[shape], "LSTM", "cpu")
        self.work = multiply_adds(COMPUTE_BOUND[shape])
        self.multiply_add = multiply_add
        self._train()

    def _train(self):
        tape = self.net.forward(self.x)[2]
        self.net.backward(tape, self.dy)

    def _fraction(self, call, passes: int) -> float:
        rounds = [(_seconds(lambda: self.multiply_add(self.work, num_threads())), _seconds(call)) for _ in range(9)]
        peak, own = map(statistics.median, zip(*rounds, strict=True))
        return passes * peak / own

    def track_inference(self, shape):
        return self._fraction(lambda: self.net(self.x), 1)

    def track_training(self, shape):
        return self._fraction(self._train, 3)
