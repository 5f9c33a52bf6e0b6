"""``python -m nblstm``: info, and kernels compiled ahead."""

import platform
import re
import subprocess
import sys

import numba
import numpy as np
import pytest
from processes import environment, run_python

import nblstm
from nblstm import layers
from nblstm.__main__ import main
from nblstm.codegen import cache, compiler
from nblstm.models import Sequential
from nblstm.training import losses


def info(**variables):
    """The rows that the command prints, by their names."""
    done = subprocess.run(
        [sys.executable, "-m", "nblstm", "info"], env=environment(**variables), text=True, capture_output=True,
        check=True, timeout=120,
    )  # fmt: skip
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    return dict(rows)


def test_what_it_prints(tmp_path):
    (tmp_path / "one.kernel").write_bytes(b"x" * 2_000_000)
    rows = info(NBLSTM_CACHE_DIR=str(tmp_path), NBLSTM_NUM_THREADS="3", NBLSTM_DEVICE=None)
    assert rows["nblstm"] == nblstm.__version__
    assert platform.python_version() in rows["Python"]
    assert f"numba {numba.__version__}" in rows["libraries"]
    assert f"numpy {np.__version__}" in rows["libraries"]
    assert rows["device"].startswith(("cpu", "cuda"))
    assert rows["threads"] == "3"
    assert "float32 or" in rows["CPU"]
    assert rows["CUDA"]
    assert rows["cache"] == f"{tmp_path} (1 kernels, 2.0 MB)"


def test_it_says_why_kernels_are_compiled_slowly():
    assert "kernels" not in info()
    said = info(NBLSTM_PLAIN_NUMBA="1")["kernels"]
    assert said == "compiled for Numba's own target, in about twice the time: NBLSTM_PLAIN_NUMBA is set"


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_an_unusable_device_is_said_not_raised(device):
    assert info(NBLSTM_DEVICE=device)["device"].startswith("unusable: the variable NBLSTM_DEVICE")


def test_a_folder_that_does_not_exist_yet(tmp_path):
    folder = tmp_path / "not" / "yet"
    assert info(NBLSTM_CACHE_DIR=str(folder))["cache"] == f"{folder} (0 kernels, 0.0 MB)"
    assert not folder.exists()


def test_threads_that_cannot_be_are_said_not_raised():
    assert info(NBLSTM_NUM_THREADS="two")["threads"].startswith("unusable: NBLSTM_NUM_THREADS is 'two'")


def test_a_warmup_that_cannot_be(monkeypatch, capsys):
    monkeypatch.setenv("NBLSTM_DEVICE", "nonsense")
    with pytest.raises(SystemExit) as caught:
        main(["warmup"])
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("the variable NBLSTM_DEVICE is 'nonsense'; the devices are")


@pytest.fixture
def unusual(tmp_path):
    """A saved model whose loss no other test has compiled."""
    model = Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile("sgd", losses.Huber(delta=0.123))
    model.save(tmp_path / "model.nblstm")
    return str(tmp_path / "model.nblstm")


def test_a_warmup_of_a_model(unusual, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("NBLSTM_CACHE_DIR", str(tmp_path / "new"))
    assert main(["warmup", unusual]) == 0
    kept = {path.name.split("-")[0] for path in (tmp_path / "new").iterdir()}
    assert kept >= {"loss_huber_float32", "loss_huber_values_float32"}
    assert f"{tmp_path / 'new'} ({len(kept)} kernels" in capsys.readouterr().out


def test_a_warmup_that_cannot_be_kept(unusual, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NBLSTM_CACHE_DIR", str(tmp_path / "file"))
    losses.Huber(delta=0.124)([1.0], [0.0])  # compiled before, and not what is asked for
    monkeypatch.setattr(compiler, "_addresses", {})
    with pytest.raises(SystemExit) as caught:
        main(["warmup", unusual])
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"\d+ kernels could not be written to .*file; make it writable, .* by NBLSTM_CACHE_DIR\n", said)


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_warmup_of_what_is_no_model(content, tmp_path, capsys):
    if content is not None:
        (tmp_path / "model").write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        main(["warmup", str(tmp_path / "model")])
    assert caught.value.code == 1
    assert str(tmp_path / "model") in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert info(NBLSTM_CACHE_DIR=str(folder))["cache"] == f"{folder} (0 kernels, 0.0 MB, not writable)"
    monkeypatch.setattr(cache.os, "access", lambda place, how: False)  # as on a disk that is only read; root may all
    assert not cache.writable()


AHEAD = """
import numpy as np
import nblstm
from nblstm import cell, layers, nn, tanh
from nblstm.codegen import compiler
from nblstm.models import Sequential

@cell(gates="a", states="h")
def own(a, h):
    return tanh(a) + 0.5 * h

x = np.ones((6, 5, 4))
net = nn.Recurrent(own, 4, 3)
recurrent = Sequential([
    layers.Input((5, 4)), layers.Masking(), layers.LSTM(3, return_sequences=True, recurrent_dropout=0.2),
    layers.Bidirectional(layers.GRU(3, return_sequences=True)), layers.TimeDistributed(layers.Dense(2)),
    layers.RNN(own, 3),
])
recurrent.compile("rmsprop", "mae", metrics=["mse"], weighted_metrics=["mae"])
plain = Sequential([layers.Input((5, 4)), layers.Flatten(), layers.Dense(3, dtype="float64")])
plain.compile("adam", "binary_crossentropy", metrics=["accuracy"])
nested = Sequential([layers.Input((2, 5, 4)), layers.TimeDistributed(layers.SimpleRNN(3))])
nblstm.warmup([net, recurrent])
plain.warmup()
nblstm.warmup(nested)
compiler._obtain = None  # nothing is left to compile, or to read from disk
for model, y in ((recurrent, np.ones((6, 3))), (plain, np.ones((6, 3)))):
    for T in range(3):
        model.fit(x, y, epochs=2, verbose=0, sample_weight=np.ones(6), validation_split=0.5)
        model.fit(x, y, verbose=0)
        model.predict(x, verbose=0)
        model.predict(x[:1], verbose=0)
nested.predict(np.ones((3, 2, 5, 4)), verbose=0)
for _ in range(4):
    y, _, tape = net.forward(x)
    net.backward(tape, y)
    net(x)
"""


def test_after_a_warmup_nothing_is_compiled():
    run_python(AHEAD)


@pytest.mark.parametrize("given", [3, "lstm", [nblstm.cells.lstm, 3], nblstm.nn.LSTM])
def test_what_cannot_be_warmed_up(given):
    with pytest.raises(TypeError, match=r"cells (is|contains) .*; give (a cell|cells,) made by nblstm\.cell"):
        nblstm.warmup(given)


WRONG = [[], ["infos"], ["info", "more"], ["layouts", "--hidden", "0"], ["layouts", "--cell", "lstm_with"]]


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "usage: python -m nblstm" in said
    assert ("layouts" in said) == ("layouts" in arguments)


def test_what_is_for_a_gpu_is_shown_on_request(capsys):
    for arguments, shown in ((["--help"], False), (["layouts", "--help"], True)):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        assert ("CUDA" in capsys.readouterr().out) == shown


def test_in_this_process(capsys):
    assert main(["info"]) == 0
    assert "cache" in capsys.readouterr().out


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5"])
def test_threads_that_cannot_be(count):
    code = "import nblstm\ntry: nblstm.num_threads()\nexcept ValueError as error: print(error)"
    said = run_python(code, NBLSTM_NUM_THREADS=count)
    assert f"NBLSTM_NUM_THREADS is {count!r}" in said
    assert "from 1 to " in said
