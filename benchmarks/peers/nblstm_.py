"""nblstm as a contender."""

from __future__ import annotations

from functools import cached_property

import numpy as np

import nblstm
from benchmarks.networks import peephole
from benchmarks.peers.options import OPTIONS, network_with
from benchmarks.peers.work import Data, Work, trained
from benchmarks.peers.zoo import cell_of, multiply_adds_of
from benchmarks.shapes import GATES, multiply_adds
from nblstm.cpu.threads import num_threads, set_num_threads


def start(threads: int) -> dict[str, str]:
    """Set the number of threads; versions of what will compute."""
    import numba

    set_num_threads(threads)
    return {"nblstm": nblstm.__version__, "numba": numba.__version__}


class Contender:
    """Each method is one piece of work, timed as it stands."""

    def __init__(self, work: Work, data: Data, training: bool):
        self.work, self.data, self.given, self.asked = work, data, {}, {}
        if work.option:
            option = OPTIONS[work.option]
            self.net, self.given, self.asked = network_with(work.option, work), option.call(data), option.backward(data)
        elif work.cell == "peephole":
            self.net = nblstm.nn.Recurrent(peephole, work.I, work.H)
        elif work.cell in GATES:
            self.net = getattr(nblstm.nn, work.cell.upper())(work.I, work.H)
        else:
            self.net = nblstm.nn.Recurrent(cell_of(work.cell), work.I, work.H, seed=0)
        own = self.net.state_dict()
        self.net.load_state_dict(own | {name: array for name, array in data.weights.items() if name in own})
        one_state = work.cell in ("gru", "rnn")
        self.state = data.state[0] if one_state else data.state
        self.dstate = data.dstate[0] if one_state else data.dstate
        if work.cell not in GATES:
            self.state = self.dstate = None
        elif work.option and not OPTIONS[work.option].starts:
            self.state = None

    def inference(self):
        return self.net(self.data.x, **self.given)

    def training(self):
        return self._train(None)

    @cached_property
    def _in_bfloat16(self):
        made = getattr(nblstm.nn, self.work.cell.upper())(self.work.I, self.work.H, precision="bfloat16")
        made.load_state_dict(self.data.weights)
        return made

    def bfloat16_inference(self):
        return self._in_bfloat16(self.data.x)

    def bfloat16_training(self):
        y, state, tape = self._in_bfloat16.forward(self.data.x, self.state)
        return y, state, self._in_bfloat16.backward(tape, self.data.dy, self.dstate)

    def training_step(self):
        self._touch()
        return self._train(None)

    def ragged(self):
        return self.net(self.data.x, lengths=self.data.lengths)

    def ragged_training(self):
        return self._train(self.data.lengths)

    def _train(self, lengths):
        y, state, tape = self.net.forward(self.data.x, self.state, lengths, **self.given)
        return y, state, self.net.backward(tape, self.data.dy, self.dstate, **self.asked)

    def _touch(self):
        """Write all parameters, as an optimizer would: the next call prepares the weights anew."""
        flat = self.net.flat_parameters()
        flat *= 1

    @cached_property
    def _stepper(self):
        return self.net.stepper(self.work.B)

    def step(self):
        return self._stepper(self.data.x[0])

    def fma_peak(self):
        """As many multiply-adds as one forward pass needs, at the cores' peak."""
        from benchmarks.fma_peak import multiply_add  # compiled on import

        count = multiply_adds if self.work.cell in GATES else lambda work, cell: multiply_adds_of(cell, work)
        multiply_add(count(self.work, self.work.cell), num_threads())

    def arrays(self, method: str, result) -> dict[str, np.ndarray]:
        """A result as named arrays, for comparison."""
        if method == "step":
            return {"y": result}
        if method == "fma_peak" or method.startswith("bfloat16") or self.work.cell not in GATES:
            return {}
        y, state, *gradients = result
        states = state if isinstance(state, tuple) else (state,)
        if not gradients:
            return {"y": y} | {f"final state {k}": value for k, value in enumerate(states)}
        (g,) = gradients
        return trained(y, states, g.params, g.x, g.state if isinstance(g.state, tuple) else (g.state,))
