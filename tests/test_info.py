"""``python -m nblstm info``."""

import platform
import subprocess
import sys

import numba
import numpy as np
import pytest
from processes import environment, run_python

import nblstm
from nblstm.__main__ import main


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


WRONG = [[], ["infos"], ["info", "more"], ["layouts", "--hidden", "0"], ["layouts", "--cell", "lstm_with"]]


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m nblstm" in capsys.readouterr().err


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
