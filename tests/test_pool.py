"""What networks keep from call to call: right after any other shapes, within the budget, gone with the network."""

import ctypes
import gc
import itertools
import weakref

import numpy as np
import pytest
from processes import run_python

from nblstm import nn
from nblstm.buffers import memory, pool
from nblstm.buffers.pool import FreeList, Pool
from nblstm.cpu.arguments import Arguments, Array, Kernel, Launch, address, place, structure
from nblstm.layers import LSTM, Dense, Input
from nblstm.models import Sequential

RNG = np.random.default_rng(0)


class Made:
    """A pass of some size."""

    def __init__(self, nbytes):
        self.nbytes = nbytes


@pytest.fixture
def alone(monkeypatch):
    """No network but those of the test."""
    monkeypatch.setattr(pool, "_pools", {})
    monkeypatch.setattr(pool, "_made_since", 0)


# --- passes that were kept, after many other shapes ------------------------------------------------------------------


def inputs(*shape):
    return RNG.normal(size=shape).astype("f4")


def results(net, x):
    """Of inference and of training."""
    y, (h, c), tape = net.forward(x)
    g = net.backward(tape, np.cos(y))
    return [net(x)[0], y, h, c, g.flat, g.x, *g.state]


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}], ids=str)
def test_a_network_computes_the_same_after_other_shapes(options):
    net, x = nn.LSTM(5, 6, seed=0, **options), inputs(7, 3, 5)
    expected = results(net, x)
    for _ in range(3):
        results(net, x)
    for T, B in itertools.product(range(13), range(1, 8)):
        net(np.ones((T, B, 5), "f4"))
    for T in range(1, 90):
        net.forward(np.ones((T, 1, 5), "f4"))
    junk = [np.full(size, 1 << 40) for size in range(1, 400)]  # where freed memory was
    for found, right in zip(results(net, x), expected, strict=True):
        np.testing.assert_array_equal(found, right)
    del junk


def test_a_model_predicts_the_same_after_other_shapes():
    model, x = Sequential([Input((None, 8)), LSTM(16), Dense(2)], seed=0), inputs(3, 7, 8)
    expected = model.predict(x, verbose=0)
    for _ in range(3):
        model.predict(x, verbose=0)
    for steps in range(1, 100):
        model.predict(np.ones((2, steps, 8), "f4"), verbose=0)
    junk = [np.full(size, 1 << 40) for size in range(1, 200)]
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    del junk


def test_shapes_as_a_loader_gives_them():
    """In a process of its own: memory that was freed and written to ended it."""
    code = """
import random
import numpy as np
from nblstm import nn
net, draw = nn.LSTM(32, 64, seed=0), random.Random(0)
for _ in range(3_000):
    net(np.zeros((draw.randrange(60), draw.randrange(60), 32), "f4"))
print("fine")
"""
    assert run_python(code).strip() == "fine"


# --- the free lists --------------------------------------------------------------------------------------------------


def test_a_key_is_kept_from_its_second_use_on(alone):
    kept = Pool()
    assert kept.second("a") is None
    assert kept.second("b") is None
    free = kept.second("a")
    assert kept.second("a") is kept.get("a") is free
    assert kept.get("b") is None


def test_passes_come_back(alone):
    free, borrower = FreeList(), Made(0)
    assert free.take() is None
    made = Made(10)
    free.add(made)
    loan = free.lend(made, borrower)
    assert free.take() is None
    del borrower
    assert free.take() is made
    free.give(made)
    assert free.take() is made
    del loan


def test_few_passes_wait_and_no_large_ones(alone):
    free = FreeList()
    passes = [Made(10) for _ in range(3 * pool.COPIES)]
    for made in passes:
        free.add(made)
    for made in passes:
        free.give(made)
    assert free.nbytes == pool.LIST + pool.COPIES * (pool.OBJECTS + 10)
    waiting = [free.take() for _ in passes]
    assert sum(made is not None for made in waiting) == pool.COPIES

    large = FreeList()
    made = Made(pool.LARGEST + 1)
    large.add(made)
    large.give(made)
    assert not large.keeps
    assert large.take() is None


def test_what_was_used_longest_ago_goes_first(alone):
    kept, other, size = Pool(), Pool(), pool.BUDGET // 10
    lists, held = [], []
    for k in range(25):
        owner = (kept, other)[k % 2]
        owner.second(k)
        free = owner.second(k)
        made = Made(size)
        free.add(made)
        free.give(made)
        held.append(made)
        lists.append((owner, k))
        kept.get(0).take()  # asked for each time, and so never the oldest
        kept.get(0).give(held[0])
    there = [k for owner, k in lists if owner.get(k) is not None]
    assert there[0] == 0
    assert there[1:] == list(range(26 - len(there), 25))
    assert 5 <= len(there) <= 11
    assert pool.kept_bytes() <= pool.BUDGET * 17 // 16


def test_passes_go_with_the_network(alone):
    net, x = nn.LSTM(4, 9, seed=0), inputs(6, 2, 4)
    for _ in range(3):
        results(net, x)
    assert pool.kept_bytes() > 10_000
    gone = weakref.ref(net)
    del net
    assert gone() is None  # without the garbage collector
    assert pool.kept_bytes() == 0


def test_a_trained_model_goes_without_the_garbage_collector(alone):
    model = Sequential([Input((5, 3)), LSTM(4), Dense(1)])
    model.compile("adam", "mse")
    model.fit(inputs(6, 5, 3), inputs(6, 1), epochs=2, verbose=0)
    assert model.history.model is model
    gc.collect()
    gc.disable()
    try:
        gone, history = weakref.ref(model), model.history
        del model
        assert gone() is None
        assert history.model is None
        assert pool.kept_bytes() == 0
    finally:
        gc.enable()


# --- the memory of the process ---------------------------------------------------------------------------------------

PROCESS = """
import numpy as np, random, sys
from nblstm.layers import LSTM, Dense, Input
from nblstm.models import Sequential

def megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

def trained(width):
    model = Sequential([Input((None, 8)), LSTM(width), Dense(1)], seed=0)
    model.compile("adam", "mse")
    return model

x, y = np.ones((64, 120, 8), "f4"), np.ones((64, 1), "f4")
model = trained(16)
model.fit(x[:, :20], y, verbose=0)
start = megabytes()
"""


@pytest.mark.skipif(memory.CHECKED, reason="memory that is checked is larger")
@pytest.mark.parametrize(
    ("steps", "most"),
    [
        ("for k in range(400): trained(17 + k).fit(x[:, :8], y, verbose=0)", 150),
        (
            "draw = random.Random(0)\n"
            "for k in range(400):\n"
            "    B, T = draw.randrange(1, 64), draw.randrange(1, 120)\n"
            "    model.train_on_batch(x[:B, :T], y[:B])",
            150,
        ),
    ],
    ids=["many models", "many shapes"],
)
def test_what_stays(steps, most):
    """Of 400 models of as many widths, and of one model with batches of as many shapes."""
    pytest.importorskip("resource", reason="reads /proc")
    grown = float(run_python(f"{PROCESS}\n{steps}\nprint(megabytes() - start)"))
    assert grown < most


# --- what a kernel is given ------------------------------------------------------------------------------------------


@structure
class Told(Arguments):
    size: int
    numbers: Array
    others: Array
    gemm: Kernel


def fields(launch):
    """As a kernel sees them."""
    return np.ctypeslib.as_array(launch._memory).view(np.int64).tolist()


def test_arguments_hold_the_arrays_of_their_addresses():
    a, b = np.arange(3.0), np.arange(4.0)
    refs, at = [weakref.ref(array) for array in (a, b)], [address(array) for array in (a, b)]
    launch = Launch(Told, 2)
    launch[0].set(size=3, numbers=a, gemm=1 << 40)
    launch[1].set(size=4, others=place(b, 8))
    assert fields(launch) == [3, at[0], 0, 1 << 40, 4, 0, at[1] + 8, 0]
    assert launch.at == ctypes.addressof(launch._memory)
    launch.check()
    del a, b
    assert all(ref() is not None for ref in refs)
    del launch
    assert all(ref() is None for ref in refs)


def test_an_array_is_held_until_it_is_let_go():
    a, b = np.arange(3.0), np.arange(4.0)
    ref, launch = weakref.ref(a), Launch(Told, 2)
    launch.point("others", b, 8)
    launch.point("numbers", b)
    launch.point("numbers", a)
    assert fields(launch) == [0, address(a), address(b), 0, 0, address(a), address(b) + 8, 0]
    del a
    assert ref() is not None
    launch.check()
    for told in launch:
        told.let_go("numbers", "others")
    assert ref() is None
    with pytest.raises(RuntimeError, match="as 'numbers' of memory that nobody holds"):
        launch.check()
    launch.point("numbers", None)
    launch[0].set(others=None)
    launch[1].set(others=b)
    launch.check()


def test_the_check_and_freed_memory():
    """With ``NBLSTM_CHECK_MEMORY``, in a process of its own."""
    code = """
import numpy as np
from nblstm import nn
from nblstm.buffers import memory
from nblstm.cpu import threads
from nblstm.engine.passes import Pass

array = memory.empty((50,), "f4")
assert np.isnan(array).all()
array.fill(3)
at = array.__array_interface__["data"][0]
del array
memory.fill_freed()
other = memory.empty((50,), "f4")
assert other.__array_interface__["data"][0] == at and np.isnan(other).all()

net, x = nn.LSTM(30, 40, seed=0), np.ones((20, 50, 30), "f4")
expected = net(x)[0]
for _ in range(4):
    assert np.array_equal(net(x)[0], expected)
kept = [own for free in net._network.pool._lists.values() if isinstance(own := free.take(), Pass)]
forward = kept[0].layers[0]
try:
    threads.run(forward._kernel, forward._arguments, 1, serial=True)
except RuntimeError as error:
    print(error)
"""
    said = run_python(code, NBLSTM_CHECK_MEMORY="1")
    assert said == "the kernel is given an address as 'x' of memory that nobody holds for it\n"


@pytest.mark.parametrize(("layers", "shape"), [(1, (3, 1, 512)), (2, (50, 16, 64))])
def test_no_large_array_of_the_callers_is_kept(layers, shape):
    """Inputs, outputs and gradients go when the caller lets go of them, though their pass waits for the next call."""
    net, refs = nn.LSTM(shape[2], shape[2], layers, seed=0), []
    for _ in range(4):
        x = inputs(*shape)
        y, _, tape = net.forward(x)
        dy = inputs(*y.shape)
        gradients = net.backward(tape, dy)
        inferred, _ = net(x)
        refs += [weakref.ref(array) for array in (x, y, dy, gradients.flat, gradients.x, inferred)]
        del x, y, tape, dy, gradients, inferred
    assert [ref() is None for ref in refs] == [True] * len(refs)
