"""Limits of the system: where no thread can be started, or no file opened, the calling thread computes alone."""

import sys

import pytest
from processes import run_python

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and their sizes are read in Linux")

#: Computes with two threads under a limit that comes when kernels have been loaded. Prints whether results stayed, and
#: how many files and workers there are.
UNDER_A_LIMIT = """
import os
import resource
import sys
import threading
import numpy as np
import nblstm
from nblstm import nn
from nblstm.cpu import threads

nblstm.set_num_threads(1)
net, x = nn.LSTM(17, 33, seed=0), np.random.default_rng(0).normal(size=(13, 21, 17)).astype("f4")

def compute():
    y, _, tape = net.forward(x)
    return net.backward(tape, y).flat

def size():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()

def limit(which, number):
    resource.setrlimit(which, (number, resource.getrlimit(which)[1]))

def files():
    return os.listdir("/proc/self/fd")

expected = compute()
"""

REFUSED = (
    UNDER_A_LIMIT
    + """
before = len(files())
if sys.argv[1] == "memory":
    threading.stack_size(200_000_000)  # no thread that has ended leaves one
    limit(resource.RLIMIT_AS, size() + 100_000_000)
else:
    limit(resource.RLIMIT_NOFILE, max(map(int, files())))
nblstm.set_num_threads(4)
same = all(np.array_equal(compute(), expected) for _ in range(20))
for count in (2, 3) * 5:
    nblstm.set_num_threads(count)
    same &= np.array_equal(compute(), expected)
workers = threads._workers._memory[threads.COUNT]
resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1:] * 2)
print(same, len(files()) - before, workers)
"""
)


@pytest.mark.parametrize("which", ["memory", "files"])
def test_alone_where_there_can_be_no_helpers(which):
    assert run_python(REFUSED, which).split() == ["True", "0", "0"]


#: Children that compute under limits of memory, each a little less tight than the one before. Prints the exit statuses
#: that there were: 0 for the right result, 3 for a MemoryError, negative ones for a crash or a time limit.
TIGHT = (
    UNDER_A_LIMIT
    + """
import signal

def child(more):
    signal.alarm(30)
    limit(resource.RLIMIT_AS, size() + more)
    try:
        nblstm.set_num_threads(4)
        return 0 if all(np.array_equal(compute(), expected) for _ in range(3)) else 1
    except MemoryError:
        return 3

statuses = []
for more in range(0, 40_000_000, 500_000):
    process = os.fork()
    if process == 0:
        os._exit(child(more))
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
print(*sorted(set(statuses)))
"""
)


def test_no_thread_is_waited_for_that_has_no_memory_to_begin():
    statuses = run_python(TIGHT, forgets=True).split()  # Python says of such a thread that it could not begin
    assert "0" in statuses
    assert set(statuses) <= {"0", "3"}


def test_too_many_open_files_are_said_to_be():
    """Also where the first call looks for nblstm's own files; when there are some again, it is right."""
    code = """
import os, resource
import numpy as np
from nblstm import nn

net, x = nn.LSTM(8, 8, seed=0), np.ones((2, 2, 8), "f4")
resource.setrlimit(resource.RLIMIT_NOFILE, (60, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    expected = error.errno
try:
    net(x)
except OSError as error:
    print(error.errno == expected, end=" ")
for file in taken:
    os.close(file)
print(np.isfinite(net(x)[0]).all())
"""
    assert run_python(code).split() == ["True", "True"]
