"""The end of the interpreter: objects that are still there go without a word."""

import pytest
from processes import start

#: What a script leaves behind at module level: Numba's dispatchers live longer than modules, and so keep its globals.
LEFT = {
    "arrays": "y, states, tape = lstm.forward(np.zeros((100, 1000, 6), 'f4'))",
    "a training pass": "for _ in range(4): y, states, tape = lstm.forward(np.zeros((3, 2, 6), 'f4'))",
    "gradients": "y, states, tape = lstm.forward(x); gradients = lstm.backward(tape, y)",
    "a pass in turns": "y, states, tape = lstm.forward(x, checkpoint=4)",
    "a stepper": "step = lstm.stepper(3); step(np.zeros((3, 6), 'f4'))",
    "a pass that failed": "y, states, tape = lstm.forward(x, 'no states')",
    "threads": "nblstm.set_num_threads(3); y = big(np.zeros((20, 64, 64), 'f4'))",
    "a call at exit": "atexit.register(lambda: print(big(np.zeros((20, 64, 64), 'f4'))[0].shape))",
}

SCRIPT = """
import atexit
import numba
import numpy as np
import nblstm
from nblstm import nn

@numba.njit
def own(x):
    return x + 1

own(1.0)
lstm, big = nn.LSTM(6, 12, 2, seed=0), nn.LSTM(64, 256, seed=0)
cycle = [lstm]
cycle.append(cycle)
x = np.zeros((50, 40, 6), "f4")
"""


@pytest.mark.parametrize("what", LEFT)
def test_the_interpreter_ends_without_a_word(what):
    process = start(SCRIPT + LEFT[what], NBLSTM_NUM_THREADS="2")
    _, errors = process.communicate(timeout=240)
    if what == "a pass that failed":
        assert errors.count("Traceback") == 1
        assert "Exception ignored" not in errors
    else:
        assert errors == ""
        assert process.returncode == 0
