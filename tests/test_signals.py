"""Signals whose handlers raise exceptions, or compute, at any moment: nothing is lost, stays shut or is half done."""

import os
import signal

import pytest
from processes import run_python, start

from nblstm.training.loop import Interrupts

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this platform has no setitimer")

#: Calls under an alarm that is always set, from 10 us to 3 ms ahead, and of which the handler raises an exception, or
#: computes, when it comes within a call. Prints whether it came, how many exceptions did not come out, how many results
#: differed, whether BLAS has its threads, and what Python printed and forgot.
CALLS = """
import faulthandler
import random
import signal
import sys
import numpy as np
from threadpoolctl import threadpool_info
import nblstm
from nblstm import nn
from nblstm.cpu import partition

faulthandler.dump_traceback_later(float(sys.argv[2]), exit=True)
partition.cores = lambda: 64  # threads share steps even where cores are few
nblstm.set_num_threads(3)
rng = np.random.default_rng(0)
small, x = nn.LSTM(8, 16, seed=0), rng.normal(size=(3, 2, 8)).astype("f4")
large, x_large = nn.LSTM(16, 64, 2, seed=0), rng.normal(size=(7, 32, 16)).astype("f4")
head, step = nn.Linear(64, 70, seed=0), small.stepper(2)
state = tuple(rng.normal(size=(1, 2, 16)).astype("f4") for _ in range(2))

def infer():
    return small(x)[0]

def train():
    y, _, tape = small.forward(x)
    return small.backward(tape, y).flat

def train_from_a_state():
    y, finals, tape = small.forward(x, state)
    gradients = small.backward(tape, None, finals)
    return np.concatenate([gradients.flat, *map(np.ravel, gradients.state)])

def train_a_large_one():
    y, _, tape = large.forward(x_large)
    return large.backward(tape, y).flat

def stream():
    step.reset()
    return step(x[0])

def multiply():
    return head(x_large.repeat(4, 2))

def pack():
    small.load_state_dict(parameters)
    return small(x, lengths=[2, 3])[0]

def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

parameters = small.state_dict()
acts = [infer, train, train_from_a_state, train_a_large_one, stream, multiply, pack]
weights = [12, 6, 6, 1, 6, 2, 2]
for _ in range(3):
    expected = {act: act().copy() for act in acts}
before = blas_threads()

class Late(Exception):
    pass

def late(number, frame):
    global came, raised
    if inside:
        came += 1
        if sys.argv[4] == "raises":
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(10e-6, 3e-3))
            raised += 1
            raise Late
        act = chance.choice([infer, train, train_from_a_state, train_a_large_one, multiply])
        compare(act, act())
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(10e-6, 3e-3))

def compare(act, result):
    if not np.array_equal(result, expected[act]):
        differing.append(act)

forgotten, differing, inside, came, raised, caught = [], [], False, 0, 0, 0
sys.unraisablehook = lambda what: forgotten.append((what.exc_type.__name__, repr(what.object)))
chance = random.Random(int(sys.argv[3]))
signal.signal(signal.SIGALRM, late)
signal.setitimer(signal.ITIMER_REAL, 1e-3)
for act in chance.choices(acts, weights, k=int(sys.argv[1])):
    try:
        inside = True
        result = act()
        inside = False
    except Late as error:
        inside = False
        while error:  # the next one may come while what the last one ended is being left
            caught, error = caught + isinstance(error, Late), error.__context__
    else:
        compare(act, result)
signal.signal(signal.SIGALRM, signal.SIG_IGN)  # a handler that waits to be called would set the timer again
signal.setitimer(signal.ITIMER_REAL, 0)
for act in acts:
    compare(act, act())
print(came > 0, raised - caught, len(differing), before == blas_threads(), forgotten)
"""


@pytest.mark.parametrize("handler", ["raises", "computes"])
def test_a_signal_may_come_within_any_call(handler):
    assert run_python(CALLS, "20000", "100", "0", handler).strip() == "True 0 0 True []"


#: Children of a process that has compiled nothing yet, each interrupted within its first calls, whose kernels are
#: loaded or compiled then, and called again. Prints the exit statuses that there were.
FIRST_CALLS = """
import faulthandler
import os
import random
import signal
import sys
import numpy as np
from nblstm import nn

count, first, last = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
chance, x = random.Random(0), np.random.default_rng(0).normal(size=(13, 21, 17)).astype("f4")

def compute():
    net = nn.LSTM(17, 33, seed=0)
    y, _, tape = net.forward(x)
    return float(net(x)[0].sum()), float(net.backward(tape, y).flat.sum())

def child(delay):
    faulthandler.enable()
    faulthandler.dump_traceback_later(60, exit=True)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupted = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        results = compute()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted = 1
        results = compute()
    print(*results, file=sys.stderr, flush=True)
    return interrupted

statuses = set()
for _ in range(count):
    process = os.fork()
    if process == 0:
        os._exit(child(chance.uniform(first, last)))
    statuses.add(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
print(*sorted(statuses))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_an_interrupt_in_the_first_calls_leaves_no_kernel_half_made():
    run_python(FIRST_CALLS, "1", "100", "100", NBLSTM_NUM_THREADS="2")  # now all kernels are in the cache
    # An import that ends within a file leaves that open, of which the interpreter warns in its development mode.
    process = start(FIRST_CALLS, "25", "0.001", "0.025", NBLSTM_NUM_THREADS="2", PYTHONDEVMODE=None)
    output, results = process.communicate(timeout=240)
    assert set(output.split()) <= {"0", "1"}
    assert "1" in output
    assert len(set(results.splitlines())) == 1  # whatever was interrupted


#: Something happens before each kernel is loaded into memory.
WHILE_LOADING = """
import signal
import sys
import numpy as np
from nblstm import nn
from nblstm.codegen import machine

class Late(Exception):
    pass

def late(number, frame):
    raise Late

def nothing():
    pass

def interrupt():
    signal.raise_signal(signal.SIGALRM)

def exhaust():
    asked.append(None)
    if len(asked) % 3 == 1:
        raise MemoryError

asked, happens = [], globals()[sys.argv[1]]
signal.signal(signal.SIGALRM, late)
load = machine.load

def disturbed(code, symbol):
    happens()
    return load(code, symbol)

machine.load = disturbed
net, x, errors = nn.LSTM(3, 5, seed=0), np.ones((4, 2, 3), "f4"), set()
for _ in range(100):
    try:
        y, _, tape = net.forward(x)
        gradient = net.backward(tape, y).flat
        break
    except (Late, MemoryError) as error:
        errors.add(type(error).__name__)
print(y.sum(), gradient.sum(), *errors)
"""


@pytest.mark.parametrize(("event", "error"), [("interrupt", "Late"), ("exhaust", "MemoryError")])
def test_a_kernel_is_loaded_whole_or_not_at_all(event, error):
    said = run_python(WHILE_LOADING, event)
    assert said.split() == [*run_python(WHILE_LOADING, "nothing").split(), error]


def test_a_ctrl_c_that_was_kept_back_is_not_lost_by_another_exception():
    def fit():
        with Interrupts() as interrupts:
            interrupts.held = True
            signal.raise_signal(signal.SIGINT)
            raise TimeoutError

    with pytest.raises(KeyboardInterrupt) as caught:
        fit()
    assert isinstance(caught.value.__context__, TimeoutError)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


#: A time limit that comes while equations run on symbols, behind the update of an optimizer, and between two layers.
WITHIN = """
import signal
import numpy as np
from nblstm import cell, nn, tanh, training
from nblstm.cpu import threads

class Late(Exception):
    pass

def late(*_):
    raise Late

signal.signal(signal.SIGALRM, late)

@cell(gates="a", states="h")
def interrupted(a, h):
    signal.raise_signal(signal.SIGALRM)
    return tanh(a + h)

try:
    nn.Recurrent(interrupted, 3, 4)
except Late:
    print("cell", end=" ")

run, when = threads.run, [0]

def then_late(*arguments, **options):
    run(*arguments, **options)
    when[0] -= 1
    if when[0] == 0:
        signal.raise_signal(signal.SIGALRM)

threads.run = then_late

readout, other = nn.Linear(5, 3, seed=0), nn.Linear(5, 3, seed=0)
y, tape = readout.forward(np.ones((2, 5), "f4"))
gradients = [readout.backward(tape, y)]
first, second = training.Adam([readout]), training.Adam([other])
for _ in range(3):
    second.step(gradients)
for k in range(3):
    when[0] = 1 if k == 1 else 0
    try:
        first.step(gradients)
    except Late:
        print("step", end=" ")
assert first.iterations == second.iterations == 3
assert np.array_equal(readout.flat_parameters(), other.flat_parameters())

step = nn.LSTM(4, 6, num_layers=3, seed=0).stepper(2)
x = np.random.default_rng(0).normal(size=(2, 4)).astype("f4")
step(x)
before = step.state
for layer in (1, 2, 3):
    when[0] = layer
    try:
        step(x)
    except Late:
        print("layer", end=" ")
    for state, old in zip(step.state, before, strict=True):
        assert np.array_equal(state, old)
"""


def test_a_time_limit_is_not_taken_for_a_mistake_and_leaves_no_half():
    assert run_python(WITHIN).split() == ["cell", "step", "layer", "layer", "layer"]


#: Files that are written and read under time limits: none is said to be damaged, and nothing is left over.
FILES = """
import os, random, signal, sys
import numpy as np
from nblstm.layers import LSTM, Dense, Input
from nblstm.models import Sequential, load_model

class Late(Exception):
    pass

inside = False

def late(*_):
    if inside:
        raise Late

forgotten = []
sys.unraisablehook = lambda what: forgotten.append((what.exc_type.__name__, repr(what.object)))
signal.signal(signal.SIGALRM, late)
os.chdir(sys.argv[1])
model = Sequential([Input((5, 3)), LSTM(7), Dense(2)], seed=0)
model.compile("adam", "mse")
model.save("model.nblstm")
model.save_weights("weights.nblstm")
acts = [
    lambda: load_model("model.nblstm"), lambda: model.load_weights("weights.nblstm"),
    lambda: model.save("model.nblstm"), lambda: model.save_weights("weights.nblstm"),
]
chance, hits = random.Random(0), 0
for act in chance.choices(acts, k=int(sys.argv[2])):
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 4e-3))
    try:
        inside = True
        act()
        inside = False
    except Late:
        inside = False
        hits += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
model.save("model.nblstm")
load_model("model.nblstm")
print(hits > 0, sorted(os.listdir()), forgotten)
"""


def test_a_time_limit_while_files_are_written_and_read(tmp_path):
    said = run_python(FILES, str(tmp_path), "150")
    assert said.strip() == "True ['model.nblstm', 'weights.nblstm'] []"
