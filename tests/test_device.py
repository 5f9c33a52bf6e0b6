"""Where nblstm computes: the variable, the function, the argument, and the answer to a request it cannot meet."""

from importlib import import_module

import numpy as np
import pytest
from processes import run_python

import nblstm
from nblstm import nn

devices = import_module("nblstm.engine.device")  # `nblstm.engine.device` is the function

UNUSABLE = pytest.mark.skipif(devices.cuda_unavailable() is None, reason="CUDA can be used here")


@pytest.fixture(autouse=True)
def _undo(monkeypatch):
    monkeypatch.setattr(devices, "_chosen", None)
    monkeypatch.delenv("NBLSTM_DEVICE", raising=False)


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_the_cpu_is_always_there(name, monkeypatch):
    monkeypatch.setenv("NBLSTM_DEVICE", "cpu")
    assert nblstm.device() == "cpu"
    nblstm.set_device("cpu")
    assert nblstm.device() == "cpu"
    assert nn.LSTM(3, 5, device=name)(np.zeros((4, 2, 3)))[0].shape == (4, 2, 5)


@UNUSABLE
def test_auto_falls_back_on_the_cpu(monkeypatch):
    assert nblstm.device() == "cpu"
    monkeypatch.setenv("NBLSTM_DEVICE", "")
    assert nblstm.device() == "cpu"
    monkeypatch.setenv("NBLSTM_DEVICE", "auto")
    assert nblstm.device() == "cpu"
    nblstm.set_device("auto")
    assert nblstm.device() == "cpu"


@UNUSABLE
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_cuda_asked_for_says_why_not(name, monkeypatch):
    reason = devices.cuda_unavailable()
    with pytest.raises(RuntimeError) as caught:
        nblstm.set_device(name)
    assert reason in str(caught.value)
    assert repr(name) in str(caught.value)
    assert "choose 'cpu' or 'auto'" in str(caught.value)
    with pytest.raises(RuntimeError, match="device asks for 'cuda"):
        nn.LSTM(3, 5, device=name)
    monkeypatch.setenv("NBLSTM_DEVICE", name)
    with pytest.raises(RuntimeError, match="NBLSTM_DEVICE asks for 'cuda"):
        nn.LSTM(3, 5)
    assert nn.LSTM(3, 5, device="cpu")(np.zeros((1, 1, 3)))[0].shape == (1, 1, 5)


@UNUSABLE
def test_a_refused_device_leaves_the_choice_as_it_was():
    nblstm.set_device("cpu")
    for name in ("cuda", "tpu"):
        with pytest.raises((RuntimeError, ValueError)):
            nblstm.set_device(name)
    assert nblstm.device() == "cpu"


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "cuda:", "cuda:-1", "cuda:x", None, 0])
def test_names_that_are_no_devices(name, monkeypatch):
    with pytest.raises(ValueError, match=r"set_device\(\) is .*'auto', 'cpu', 'cuda'"):
        nblstm.set_device(name)
    if isinstance(name, str):  # an empty variable is none
        with pytest.raises(ValueError, match=r"device is .*'auto', 'cpu', 'cuda'"):
            nn.LSTM(3, 5, device=name)
        monkeypatch.setenv("NBLSTM_DEVICE", name or "no")
        with pytest.raises(ValueError, match=r"NBLSTM_DEVICE is .*'auto', 'cpu', 'cuda'"):
            nn.LSTM(3, 5)


def test_set_device_comes_before_the_variable(monkeypatch):
    nblstm.set_device("cpu")
    monkeypatch.setenv("NBLSTM_DEVICE", "nonsense")
    assert nblstm.device() == "cpu"


def test_importing_does_not_look_for_a_device():
    assert "cpu" in run_python(
        "import nblstm, os; os.environ['NBLSTM_DEVICE'] = 'cpu'; print(nblstm.device())", NBLSTM_DEVICE="nonsense"
    )
