"""What fit, evaluate and predict show: a line that is drawn anew on a terminal, a line at the end elsewhere."""

import io
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from processes import environment, run_python

from nblstm.layers import Dense
from nblstm.models import Sequential
from nblstm.process import compiling
from nblstm.training.callbacks import LambdaCallback
from nblstm.training.progress import Progress, _clock, _duration

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 1))


def model():
    made = Sequential([Dense(1)], seed=0)
    made.compile("sgd", "mse", metrics=["mae"])
    return made


class Terminal(io.StringIO):
    """A stdout that is a terminal."""

    def isatty(self):
        return True

    @property
    def rows(self):
        """What stands on the screen, where each carriage return goes back to the beginning of a row."""
        screen = []
        for row in self.getvalue().split("\n"):
            cells = ""
            for part in row.split("\r"):
                cells = part + cells[len(part) :]
            screen.append(cells.rstrip())
        return screen


def on_a_terminal(monkeypatch, columns=100, stdout=None):
    """Called by a test itself: between fixtures and tests, pytest puts a stdout of its own there."""
    made = stdout or Terminal()
    monkeypatch.setattr(sys, "stdout", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    return made


# --- elsewhere -------------------------------------------------------------------------------------------------------


def test_lines(capsys):
    trained = model()
    for verbose in (2, 1, "auto"):
        trained.fit(X, Y, batch_size=8, epochs=2, verbose=verbose, validation_split=0.5)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert lines[1].startswith("Epoch 2/2 - 2/2 - ")
        assert all(f" {name}: " in lines[1] for name in ("loss", "mae", "val_loss", "val_mae"))
    trained.evaluate(X, Y, batch_size=8)
    assert capsys.readouterr().out.startswith("3/3 - ")
    trained.predict(X, batch_size=8)
    trained.fit(X, Y, verbose=0)
    assert capsys.readouterr() == ("", "")


def test_numbers(capsys):
    progress = Progress(2, "T", None)
    progress.step(7, None)
    progress.line({"a": 0.12345, "b": 1e-5, "c": float("nan"), "d": 0.0, "e": "text"})
    shown = capsys.readouterr().out
    assert shown.startswith("T - 7/7 - ")
    assert shown.endswith("/step - a: 0.1235 - b: 1.0000e-05 - c: nan - d: 0.0000 - e: text\n")


@pytest.mark.parametrize(("seconds", "shown"), [(5.9, "5s"), (0, "0s"), (65, "1:05"), (3605, "1:00:05")])
def test_what_is_left(seconds, shown):
    assert _clock(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(2.0, "2s"), (123.4, "123s"), (0.00321, "3.21ms"), (4e-6, "4us"), (0.9996, "1000ms")]
)
def test_durations(seconds, shown):
    assert _duration(seconds) == shown


def test_where_there_is_no_terminal_to_ask():
    code = """
import io, sys
import numpy as np
from nblstm.layers import Dense
from nblstm.models import Sequential
model = Sequential([Dense(1)])
model.compile("sgd", "mse")
for sys.stdout in (None, io.StringIO()):
    model.fit(np.zeros((4, 2)), np.zeros(4), verbose=1)
"""
    run_python(code)


class Collector:
    """What programs put in the place of stdout, with what `print` needs of it."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_stdout_that_can_only_write(monkeypatch):
    written = Collector()
    monkeypatch.setattr(sys, "stdout", written)
    model().fit(X, Y)
    assert written.text.startswith("Epoch 1/1 - 1/1 - ")


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_stdout_that_has_been_closed(monkeypatch, verbose):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    trained = model()
    assert len(trained.fit(X, Y, epochs=2, verbose=verbose).epoch) == 2
    trained.evaluate(X, Y, verbose=verbose)
    assert trained.predict(X, batch_size=2, verbose=verbose).shape == (20, 1)


# --- on a terminal ---------------------------------------------------------------------------------------------------


def test_what_stands_there_in_the_end(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    trained = model()
    trained.fit(X, Y, batch_size=8, epochs=2, validation_split=0.5)
    rows = terminal.rows
    assert [rows[0], rows[2], rows[4:]] == ["Epoch 1/2", "Epoch 2/2", [""]]
    for row in (rows[1], rows[3]):
        assert re.fullmatch(
            r"2/2 ━{20} \S+s \S+s/step - loss: \S+ - mae: \S+ - val_loss: \S+ - val_mae: \S+", row
        )  # fmt: skip
    trained.evaluate(X, Y, batch_size=8)
    assert re.fullmatch(r"3/3 ━{20} \S+s \S+s/step - loss: \S+ - mae: \S+", terminal.rows[4])
    before = terminal.rows
    trained.predict(X, batch_size=8)
    assert terminal.rows == before
    trained.fit(X, Y, batch_size=8, verbose=2)
    assert terminal.rows[5].startswith("Epoch 1/1 - 3/3 - ")
    assert not compiling.listeners


def test_the_line_while_it_runs(monkeypatch):
    """Keras's: batches, a bar of 20, the seconds that are left, those of a batch, and the measurements so far."""
    terminal = on_a_terminal(monkeypatch)
    monkeypatch.setattr("nblstm.training.progress.REDRAWN", 0.0)
    seen = []
    watch = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(terminal.rows[-1]))
    model().fit(X, Y, batch_size=2, callbacks=[watch])
    assert seen[0] == ""
    for done, row in enumerate(seen[1:], 1):
        bar = "━" * (2 * done) + "─" * (20 - 2 * done)
        left = r" 0s \S+s/step" if done > 1 else ""  # the first batch, with its kernels, says nothing of the others
        assert re.fullmatch(rf"{done:2}/10 {bar}{left} - loss: \S+ - mae: \S+", row), row
    assert len(seen) == 10


def test_a_number_of_batches_that_is_not_known(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    monkeypatch.setattr("nblstm.training.progress.REDRAWN", 0.0)
    seen = []
    watch = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(terminal.rows[-1]))
    model().fit(((X[k : k + 5], Y[k : k + 5]) for k in (0, 5, 10)), callbacks=[watch])
    assert [row.split()[0] for row in seen[1:]] == ["1/Unknown", "2/Unknown"]
    assert terminal.rows[1].startswith("3/Unknown ")


@pytest.mark.parametrize("callbacks", [False, True])
def test_it_is_not_drawn_at_every_step(monkeypatch, callbacks):
    """At most about 10 times a second, and no measurement is asked for in between, though callbacks may have them."""
    terminal = on_a_terminal(monkeypatch)
    progress = Progress(1, "T", 100_000)
    start = time.perf_counter()
    wanted = 0
    for done in range(1, 100_001):
        if progress.wants_logs:
            wanted += 1
        progress.step(done, {"loss": 1.0} if progress.wants_logs or callbacks else None)
        if time.perf_counter() - start > 0.35:
            break
    progress.close()
    assert terminal.getvalue().count("step") <= 4
    assert wanted <= 4


def test_callbacks_that_see_each_batch_do_not_have_it_drawn(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    monkeypatch.setattr("nblstm.training.progress.REDRAWN", 1000.0)
    seen = []
    watch = LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))
    watch.on_test_batch_end = lambda batch, logs: seen.append(logs["loss"])
    trained = model()
    trained.fit(X, Y, batch_size=2, callbacks=[watch])
    trained.evaluate(X, Y, batch_size=2, callbacks=[watch])
    assert len(seen) == 20
    assert terminal.getvalue().count("loss") == 2  # at the end of each


def test_a_line_is_no_longer_than_a_row(monkeypatch):
    terminal = on_a_terminal(monkeypatch, columns=40)
    monkeypatch.setattr("nblstm.training.progress.REDRAWN", 0.0)
    assert shutil.get_terminal_size().columns == 40
    progress = Progress(1, "", 3)
    progress.step(1, {"a_metric_with_quite_a_long_name": 1.0})
    progress.step(2, {"loss": 1.0})
    assert 37 <= len(terminal.rows[0]) <= 39  # 2ms/step or 737us/step
    progress.step(3, {})
    assert re.fullmatch(r"3/3 ━{20} 0s \S+s/step", terminal.rows[0])  # nothing is left of the longer one
    progress.close()
    assert terminal.rows == [""]


def test_others_print_on_rows_of_their_own(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    say = LambdaCallback(on_epoch_end=lambda epoch, logs: print("said"))
    model().fit(X, Y, epochs=2, callbacks=[say])
    assert [row.split()[0] for row in terminal.rows[:-1]] == ["Epoch", "said", "1/1"] * 2


def test_compiling_is_said(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    monkeypatch.setattr("nblstm.training.progress.REDRAWN", 0.0)
    progress = Progress(1, "Epoch 1/1", 40)
    compiling.announce()
    assert terminal.rows[1] == " 0/40 " + "─" * 20 + " compiling"
    progress.step(1, {"loss": 1.0})
    assert "compiling" not in terminal.rows[1]
    progress.close()
    compiling.announce()
    assert terminal.rows[1:] == [""]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_nothing(monkeypatch, error):
    terminal = on_a_terminal(monkeypatch)

    def fail(batch, logs):
        if batch == 2:
            raise error

    with suppress(ValueError):
        model().fit(X, Y, batch_size=4, callbacks=[LambdaCallback(on_train_batch_begin=fail)])
    assert terminal.rows[:2] == ["Epoch 1/1", ""]
    assert not compiling.listeners


def test_letters_that_a_terminal_lacks(monkeypatch):
    raw = io.BytesIO()
    narrow = io.TextIOWrapper(raw, encoding="cp1252", newline="")
    monkeypatch.setattr(narrow, "isatty", lambda: True, raising=False)
    on_a_terminal(monkeypatch, stdout=narrow)
    monkeypatch.setattr("nblstm.training.progress.REDRAWN", 0.0)
    progress = Progress(1, "Epoch 1/1", 4)
    progress.step(1, {"loss": 1.0})
    progress.line({"λ": 1.0})
    shown = raw.getvalue().decode("cp1252")
    assert "1/4 =====--------------- " in shown
    assert shown.endswith(" - \\u03bb: 1.0000\n")


@pytest.mark.parametrize("kind", ["xterm", "dumb"])
def test_a_real_terminal(tmp_path, kind):
    """The first epoch of a process with an empty cache, on a pseudo-terminal: kernels are compiled, and it says so."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")
    code = """
import numpy as np
from nblstm.layers import Dense
from nblstm.models import Sequential
model = Sequential([Dense(1)], seed=0)
model.compile("sgd", "mse")
model.fit(np.zeros((8, 2)), np.zeros((8, 1)), batch_size=2, epochs=2)
"""
    main, end = pty.openpty()
    cache = str(tmp_path) if kind == "xterm" else os.environ.get("NBLSTM_CACHE_DIR")
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(NBLSTM_CACHE_DIR=cache, COLUMNS="80", TERM=kind), stdout=end,
        stderr=end,
    )  # fmt: skip
    os.close(end)
    shown = b""
    with suppress(OSError):  # Linux's end of file
        while part := os.read(main, 4096):
            shown += part
    os.close(main)
    assert process.wait(60) == 0
    text = shown.decode().replace("\r\n", "\n")
    if kind == "dumb":
        assert [line[:15] for line in text.splitlines()] == ["Epoch 1/2 - 4/4", "Epoch 2/2 - 4/4"]
        return
    assert "\r0/4 " + "─" * 20 + " compiling" in text
    screen = Terminal()
    screen.write(text)
    first, one, second, two, last = screen.rows
    assert (first, second, last) == ("Epoch 1/2", "Epoch 2/2", "")
    assert all(re.fullmatch(r"4/4 ━{20} \S+s \S+s/step - loss: \S+", row) for row in (one, two))
