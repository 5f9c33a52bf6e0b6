"""gevent and eventlet, which make greenlets of threads: nblstm's stay the system's, whichever is imported first."""

from functools import cache
from importlib.util import find_spec

import pytest
from processes import run_python

PROGRAM = """
import faulthandler
import os
import sys
import warnings

library, order = sys.argv[1:]
faulthandler.dump_traceback_later(100, exit=True)

def patch():
    if library == "gevent":
        from gevent import monkey
        monkey.patch_all()
    elif library == "eventlet":
        warnings.simplefilter("ignore")  # it is deprecated
        import eventlet
        eventlet.monkey_patch()

def in_greenlets(function):
    if library == "gevent":
        import gevent
        greenlets = [gevent.spawn(function) for _ in range(5)]
        gevent.joinall(greenlets)
        return [greenlet.value for greenlet in greenlets]
    if library == "eventlet":
        import eventlet
        return [greenlet.wait() for greenlet in [eventlet.spawn(function) for _ in range(5)]]
    return [function()] * 5

if order == "before":
    patch()
import numpy as np
import nblstm
from nblstm import nn
from nblstm.cpu import partition, threads
from nblstm.layers import LSTM, Dense, Input
from nblstm.models import Sequential
if order == "after":
    patch()

partition.cores = lambda: 64  # threads share steps even where cores are few
rng = np.random.default_rng(0)
net, x = nn.LSTM(64, 256, seed=0), rng.normal(size=(5, 32, 64)).astype("f4")
model, rows = Sequential([Input((None, 8)), LSTM(64), Dense(2)], seed=0), rng.normal(size=(64, 7, 8)).astype("f4")
model.compile("adam", "mse")
step = net.stepper(32)

def call():
    return net(x)[0].sum()

def train():
    y, _, tape = net.forward(x)
    return net.backward(tape, y).flat.sum()

print(call(), train(), *in_greenlets(train), step(x[0]).sum())
print(model.fit(rows, np.zeros((64, 2), "f4"), epochs=2, verbose=0).history, model.predict(rows, verbose=0).sum())
nblstm.set_num_threads(3)
print(call(), *in_greenlets(call), threads._workers._memory[threads.COUNT])
"""


@cache
def expected():
    return run_python(PROGRAM, "none", "before", NBLSTM_NUM_THREADS="2")


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_threads_stay_threads_where_threading_is_patched(library, order):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    assert run_python(PROGRAM, library, order, NBLSTM_NUM_THREADS="2") == expected()
    assert expected().split()[-1] == "2"  # workers
