"""Forked children: the same bits, whatever the parent's threads were doing, and no lock that stays shut."""

import os

import pytest
from processes import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

FORK = """
import os
import sys
import numpy as np
from nblstm import nn
net, x = nn.LSTM(17, 33, seed=0), np.random.default_rng(0).normal(size=(13, 21, 17)).astype("f4")

def compute():
    y, _, tape = net.forward(x)
    return net.backward(tape, y).flat

expected = compute()  # the parent's workers run now; a child has none of them
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if all(np.array_equal(compute(), expected) for _ in range(5)) else 1)
    children.append(child)
    assert np.array_equal(compute(), expected)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.mark.parametrize("count", ["1", "2", "3"])
def test_a_forked_child_computes_the_same(count):
    assert run_python(FORK, NBLSTM_NUM_THREADS=count).strip() == "[0, 0, 0]"


WORKERS = """
import multiprocessing
import os
import threading
import numpy as np
from nblstm import nn
net, x = nn.LSTM(17, 33, seed=0), np.random.default_rng(0).normal(size=(13, 21, 17)).astype("f4")

def compute(_=None):
    y, _, tape = net.forward(x)
    return net.backward(tape, y).flat

expected = compute()
stop = threading.Event()

def go_on():
    while not stop.is_set():
        compute()
        net.parameters()  # lent and gone: the weights are packed anew each time

others = [threading.Thread(target=go_on) for _ in range(2)]
for other in others:
    other.start()
try:
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=2) as pool:
        print(all(np.array_equal(result, expected) for result in pool.map(compute, range(12), chunksize=1)))
finally:
    stop.set()
    for other in others:
        other.join()
"""


def test_workers_are_forked_while_threads_compute():
    assert run_python(WORKERS, NBLSTM_NUM_THREADS="2").strip() == "True"


LOCKS = """
import os
import threading
from nblstm import nn
from nblstm.process import locks, uninterrupted
net = nn.LSTM(3, 5)
held, may_end = [net._lock, locks.lock()], threading.Event()

def hold():
    for lock in held:
        lock.acquire()
    uninterrupted.uninterrupted(taken.set)
    may_end.wait()

taken = threading.Event()
holder = threading.Thread(target=hold)
holder.start()
taken.wait()
child = os.fork()
if child == 0:
    os._exit(0 if all(lock.acquire(timeout=5) for lock in [*held, uninterrupted._running]) else 1)
may_end.set()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_no_lock_stays_shut_in_a_forked_child():
    assert run_python(LOCKS).strip() == "0"
