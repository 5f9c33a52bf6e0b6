"""The same bits for any number of threads, right answers for many callers at once, and for ever."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import pytest
from networks import CELLS, Case, expected_outputs, network, problem
from processes import run_python
from tolerances import OUTPUT, assert_close

import nblstm
from nblstm import nn
from nblstm.cpu import partition

#: Large enough to be split over threads: by rows, by hidden units where rows are few, and over segments of time.
CASES = {
    "rows": Case(T=13, B=21, I=17, H=33),
    "few_rows": Case(T=9, B=2, I=70, H=131, num_layers=2),
    "one_row": Case(T=5, B=1, I=97, H=193),
    "ragged": Case(T=40, B=11, I=19, H=29, num_layers=2, bidirectional=True,
                   lengths=(3, 40, 0, 17, 40, 1, 39, 22, 0, 8, 31)),
    "segments": Case(T=190, B=9, I=5, H=23, bidirectional=True),
    "small": Case(T=3, B=2, I=3, H=5),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _undo(monkeypatch):
    monkeypatch.setattr(partition, "cores", lambda: 64)  # threads share steps even where cores are few
    before = nblstm.num_threads()
    yield
    nblstm.set_num_threads(before)


@lru_cache(maxsize=64)
def made(cell, case, dtype):
    return network(*CELLS[cell], CASES[case], dtype)


def computed(cell, case, dtype, net=None):
    """Everything that a network computes for a case, training and inference, in one list."""
    net = net or made(cell, case, dtype)
    p = problem(CELLS[cell][1], CASES[case])
    y, finals, tape = net.forward(p.x, p.states, CASES[case].lengths)
    y_inference, finals_inference = net(p.x, p.states, CASES[case].lengths)
    gradients = net.backward(tape, p.dy, p.dstates)
    return [y, *finals, y_inference, *finals_inference, gradients.flat, gradients.x, *gradients.state]


def assert_same_bits(results, expected):
    for ours, theirs in zip(results, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "lstm_peephole", "lstm_recurrent_dropout"])
@pytest.mark.parametrize("case", CASES)
def test_same_bits_for_any_number_of_threads(case, cell, dtype):
    nblstm.set_num_threads(1)
    expected = computed(cell, case, dtype)
    assert_close(expected[0], expected_outputs(CELLS[cell][1], CASES[case])[0], OUTPUT[dtype])
    for count in (2, 3, 7):
        nblstm.set_num_threads(count)
        for _ in range(2):
            assert_same_bits(computed(cell, case, dtype), expected)


def test_same_bits_from_run_to_run():
    first = computed("lstm", "ragged", "float32")
    for _ in range(20):
        assert_same_bits(computed("lstm", "ragged", "float32"), first)


def test_a_stepper_on_any_number_of_threads():
    net, x = nn.LSTM(65, 257, 2, seed=0), np.random.default_rng(0).normal(size=(4, 30, 65)).astype("f4")
    results = []
    for count in (1, 2, 3):
        nblstm.set_num_threads(count)
        step = net.stepper(batch_size=30)
        results.append(np.stack([step(x_t).copy() for x_t in x]))
    assert_same_bits(results[1:], [results[0]] * 2)


# --- many callers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_eight_python_threads_at_once(shared):
    nblstm.set_num_threads(2)
    jobs = [(cell, case, dtype) for case in ("rows", "few_rows", "ragged", "small") for cell in ("lstm", "gru")
            for dtype in ("float32", "float64")]  # fmt: skip
    expected = {job: computed(*job) for job in jobs}
    start = threading.Barrier(8)

    def work(k):
        start.wait()
        for n in range(30):
            job = jobs[(k * 5 + n) % len(jobs)]
            net = None if shared else network(*CELLS[job[0]], CASES[job[1]], job[2])
            assert_same_bits(computed(*job, net=net), expected[job])
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.parametrize("case", ["rows", "few_rows"])
def test_threads_may_be_changed_while_others_compute(case):
    expected = computed("lstm", case, "float32")
    stop = threading.Event()

    def work():
        while not stop.is_set():
            assert_same_bits(computed("lstm", case, "float32"), expected)
        return True

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(work) for _ in range(3)]
        for k in range(60):
            nblstm.set_num_threads(1 + k % 3)
            threading.Event().wait(0.005)
        stop.set()
        assert all(future.result(timeout=60) for future in running)


def test_the_first_calls_of_a_process_may_be_concurrent():
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from nblstm import nn
x = np.random.default_rng(0).normal(size=(13, 21, 17)).astype("f4")

def work(k):
    net = nn.LSTM(17, 33, seed=0)
    y, _, tape = net.forward(x)
    return net.backward(tape, y).flat

with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(work, range(8)))
print(all(np.array_equal(r, results[0]) for r in results), np.isfinite(results[0]).all())
"""
    assert run_python(code, NBLSTM_NUM_THREADS="2").split() == ["True", "True"]


def test_the_variable_sets_the_number_of_threads():
    code = "import nblstm; print(nblstm.num_threads())"
    assert run_python(code, NBLSTM_NUM_THREADS="3").strip() == "3"
    assert run_python(code, NBLSTM_NUM_THREADS=None, NUMBA_NUM_THREADS="1").strip() == "1"


ONE_CORE = """
import os
import numpy as np
from nblstm import nn
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
net, x = nn.LSTM(70, 131, 2, seed=0), np.random.default_rng(0).normal(size=(9, 2, 70)).astype("f4")
for _ in range(30):
    y, _, tape = net.forward(x)
    gradients = net.backward(tape, y)
print(y.tobytes().hex(), gradients.flat[::97].tobytes().hex())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform cannot take cores away")
def test_more_threads_than_cores():
    assert run_python(ONE_CORE, NBLSTM_NUM_THREADS="7") == run_python(ONE_CORE, NBLSTM_NUM_THREADS="1")


# --- memory ---------------------------------------------------------------------------------------

GROWTH = """
import sys
import tracemalloc
import numpy as np
from nblstm import nn
from nblstm.training import Adam
net, x = nn.LSTM(3, 5, seed=0), np.ones((4, 2, 3), np.float32)
ragged = np.array([4, 2])
step, x_t, adam = net.stepper(), np.ones((1, 3), np.float32), Adam([net])

def infer():
    net(x)

def infer_ragged():
    net(x, lengths=ragged)

def train():
    y, _, tape = net.forward(x)
    adam.step([net.backward(tape, y)])

def stream():
    step(x_t)

def construct():
    nn.LSTM(3, 5, seed=0)(x)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

act = globals()[sys.argv[1]]
for _ in range(300):
    act()
tracemalloc.start()
for _ in range(50):
    act()
allocated = tracemalloc.get_traced_memory()[0]
for _ in range(500):
    act()
print(tracemalloc.get_traced_memory()[0] - allocated)
tracemalloc.stop()
before = resident()
for _ in range(10_000):
    act()
print(resident() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="resident memory is read from /proc")
@pytest.mark.parametrize("what", ["infer", "infer_ragged", "train", "stream", "construct"])
def test_memory_does_not_grow(what):
    allocated, resident = map(int, run_python(GROWTH, what).split())
    assert allocated < 20_000  # 500 calls: 40 bytes each
    assert resident < 2_000_000  # 10,000 calls: 200 bytes each
