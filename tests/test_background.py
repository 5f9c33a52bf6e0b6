"""The background process that compiles: its kernels are used, and nothing goes wrong where it stores none."""

import os
import time

import numpy as np
import pytest
from processes import run_python

from nblstm.codegen import background, cache

#: Prints the kernels that this process compiled itself, and the sum of what they compute.
PROGRAM = """
import numpy as np
from nblstm import nn
from nblstm.codegen import background, compiler

{before}
built = []
build = compiler._build
compiler._build = lambda name, file, make: built.append(name) or build(name, file, make)
net = nn.LSTM(3, 5, seed=0)
y, _, tape = net.forward(np.ones((4, 2, 3), "f4"))
print(float(y.sum()), float(net.backward(tape, y).flat.sum()), *built)
"""
SHARED = {"gemm_float32", "backward_by_rows_float32", "gradients_float32"}
KILLED = """
start = background.start
background.start = lambda kernels: (start(kernels), background._processes["gemm_float32"].kill())
"""


def run(folder, before=""):
    y, gradient, *built = run_python(PROGRAM.format(before=before), NBLSTM_CACHE_DIR=str(folder)).split()
    return (y, gradient), built


needs_two_cores = pytest.mark.skipif(background.cores() < 2, reason="one core: there is no second process")


@needs_two_cores
def test_its_kernels_are_used(tmp_path):
    alone, built = run(tmp_path / "alone", "background.cores = lambda: 1")
    assert set(built) >= SHARED
    shared, built = run(tmp_path / "shared")
    assert not SHARED & set(built)
    assert shared == alone
    assert {path.name.split("-")[0] for path in (tmp_path / "shared").glob("gemm*")} == {"gemm_float32"}
    again, built = run(tmp_path / "shared")
    assert built == []
    assert again == alone
    killed, built = run(tmp_path / "killed", KILLED)
    assert set(built) >= SHARED
    assert killed == alone


@needs_two_cores
def test_a_kernel_that_never_comes_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("NBLSTM_CACHE_DIR", str(tmp_path))
    background.start({"nothing": (os.getpid, ()), "more": (np.zeros, ("no shape",))})
    start = time.monotonic()
    background.wait_for("nothing", "nothing-of-this-name")
    background.wait_for("more", "nothing-of-this-name")
    background.wait_for("never started", "nothing-of-this-name")
    assert time.monotonic() - start < background.TIMEOUT * 2


def test_no_process_without_a_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NBLSTM_CACHE_DIR", str(tmp_path / "file"))
    assert not cache.writable()
    background.start({"kernel": (os.getpid, ())})
    assert "kernel" not in background._processes


PYTHONS = ["python", "python3", "python3.12", "python3.13t", "python3.12d", "Python", "python.exe", "pythonw.exe",
           "python_d.exe", "python3-dbg", "python3.12-intel64"]  # fmt: skip
HOSTS = ["", "blender", "qgis", "qgis-bin.exe", "uwsgi", "pythonservice.exe", "FreeCAD", "python3.12 embedded", "R.exe",
         "mypython", "python3.12.app"]  # fmt: skip


@pytest.mark.parametrize("name", [*PYTHONS, *HOSTS])
def test_only_a_python_is_started(name, monkeypatch, tmp_path):
    """Of a program with a Python in it, the interpreter's path is that program, which would open a second time."""
    started = []
    monkeypatch.setenv("NBLSTM_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(background, "cores", lambda: 2)
    monkeypatch.setattr(background.sys, "executable", str(tmp_path / "bin" / name) if name else name)
    monkeypatch.setattr(
        background.subprocess, "Popen", lambda command, **options: started.append(command) or _NoProcess()
    )
    monkeypatch.setattr(background, "_processes", {})
    background.start({"kernel": (os.getpid, ())})
    assert [command[0] for command in started] == [background.sys.executable] * (name in PYTHONS)


class _NoProcess:
    """One that has ended."""

    def poll(self):
        return 0

    terminate = wait = poll


@needs_two_cores
def test_the_queue_is_compiled_while_another_kernel_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("NBLSTM_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(background, "_queue", {})
    done = []
    background.compile_while_waiting(done.append, 1)
    background.compile_while_waiting(done.append, 2)
    background.compile_while_waiting(done.append, 1)
    background.wait_for("never started", "nothing-of-this-name")
    assert done == []
    background.start({"slow": (time.sleep, (0.5,))})
    background.wait_for("slow", "nothing-of-this-name")
    assert done == [1, 2]


@needs_two_cores
def test_a_fit_queues_its_loss_and_its_optimizer(tmp_path):
    program = """
import numpy as np
from nblstm.codegen import background
from nblstm.layers import Dense
from nblstm.models import Sequential

model = Sequential([Dense(1)])
model.compile("adam", "mse")
model.fit(np.ones((4, 3), "f4"), np.ones((4, 1), "f4"), verbose=0)
print(*(call[0].__name__ for call in background._queue))
"""
    assert run_python(program, NBLSTM_CACHE_DIR=str(tmp_path)).split() == ["loss_kernel", "update_kernel"]
