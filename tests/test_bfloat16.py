"""Products of bfloat16 operands: right to the rounding, the same bits for any cut, in every way to run a network."""

from __future__ import annotations

import copy
import ctypes
import pickle

import numpy as np
import pytest
from messages import message_of

import nblstm
from nblstm import cells, layers, nn
from nblstm.cpu import thresholds
from nblstm.cpu.matrix import microkernel
from nblstm.cpu.matrix.bfloat16 import bfloat16_columns_gemm, bfloat16_gemm
from nblstm.cpu.matrix.blocks import panel_columns
from nblstm.models import Sequential

PANEL = panel_columns("float32")
GEMM = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 15)


@pytest.fixture(autouse=True)
def _as_before():
    yield
    nblstm.set_precision("float32")
    nblstm.set_num_threads(2)


def rounded(x: np.ndarray) -> np.ndarray:
    """The nearest numbers of bfloat16, of two the even one, by their bits."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def packed(B: np.ndarray) -> np.ndarray:
    """Panels of pairs, as the kernel reads them."""
    K, N = B.shape
    filled = np.zeros((K + K % 2, -(-N // PANEL) * PANEL), np.float32)
    filled[:K, :N] = rounded(B)
    pairs = filled.view(np.uint32)[::2] >> 16 | filled.view(np.uint32)[1::2]
    return np.ascontiguousarray(pairs.reshape(len(pairs), -1, PANEL).swapaxes(0, 1)).view(np.float32)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(("M", "N", "K"), [(1, 64, 2), (3, 70, 7), (16, 130, 33), (100, 65, 1), (97, 3, 1025)])
def test_products(M, N, K, native, monkeypatch):
    rng = np.random.default_rng(K)
    A, B, C = (rng.normal(size=shape).astype("f4") for shape in ((M, K), (K, N), (M, N)))
    expected = C + rounded(A).astype("f8") @ rounded(B).astype("f8")
    by_rows, by_columns = np.empty((2, M, N), np.float32)
    W, columns = packed(B), np.ascontiguousarray(A.T)
    if native or not microkernel.vector_unit().bfloat16:
        gemms = bfloat16_gemm(), bfloat16_columns_gemm()
    else:
        gemms = without_instructions(monkeypatch)
    at, panel = W.ctypes.data, W.shape[1] * PANEL
    start, a, t, b = (array.ctypes.data for array in (C, A, columns, B))
    GEMM(gemms[0])(M, 0, N, K, a, K, 1, at, panel, PANEL, start, N, by_rows.ctypes.data, N, 0)
    GEMM(gemms[1])(M, 0, N, K, t, 1, M, b, PANEL, N, start, N, by_columns.ctypes.data, N, 0)
    np.testing.assert_array_equal(by_rows, by_columns)
    np.testing.assert_allclose(by_rows, expected, rtol=1e-5, atol=2e-6 * K**0.5)


def without_instructions(monkeypatch):
    """The kernels of a machine that has no instruction for pairs; they are not in the cache."""
    from dataclasses import replace

    from nblstm.cpu.matrix import bfloat16

    unit = replace(microkernel.vector_unit(), bfloat16=False)
    monkeypatch.setattr(microkernel, "vector_unit", lambda: unit)
    compiled = bfloat16.compiled
    monkeypatch.setattr(bfloat16, "compiled", lambda name, text, make: compiled(name, "pairs in two steps", make))
    microkernel.microkernel.cache_clear()
    try:
        return bfloat16.bfloat16_gemm.__wrapped__(), bfloat16.bfloat16_columns_gemm.__wrapped__()
    finally:
        microkernel.microkernel.cache_clear()


#: Largest error, of the largest number: bfloat16 has a unit roundoff of 2^-9, and errors add up over a few steps.
BOUND = 2e-2

SHAPES = {"small": (5, 3, 7, 9), "units": (4, 2, 5, 33), "even": (6, 20, 8, 16), "one": (3, 1, 1, 64)}


def run(network, x, dy, **options):
    y, states, tape = network.forward(x.astype(network.dtype), **options)
    gradients = network.backward(tape, dy.astype(network.dtype))
    return {"y": y, "x": gradients.x, **gradients.params, **{f"state {k}": s for k, s in enumerate(states)}}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "of", [cells.lstm, cells.mgu, cells.layer_norm_lstm, cells.lem, cells.peepholelstm], ids=lambda c: c.name
)
def test_outputs_and_gradients_are_those_of_float64_to_the_rounding(of, shape):
    T, B, I, H = SHAPES[shape]
    rng = np.random.default_rng(0)
    options = {"num_layers": 2, "bidirectional": True, "seed": 0}
    network = nn.Recurrent(of, I, H, precision="bfloat16", **options)
    exact = nn.Recurrent(of, I, H, dtype="float64", **options)
    exact.load_state_dict({name: array.astype("f8") for name, array in network.state_dict().items()})
    x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, 2 * H))
    expected, found = run(exact, x, dy), run(network, x, dy)
    for name, array in expected.items():
        assert np.abs(found[name] - array).max() < BOUND * max(1e-2, np.abs(array).max()), name
    single = run(nn.Recurrent(of, I, H, **options), x, dy)
    assert any((single[name] != found[name]).any() for name in found)  # it is not float32 by another name


CUT = {"SERIAL_WORK": 0, "SERIAL_WORK_FEW_ROWS": 0, "SERIAL_WORK_GRADIENTS": 0, "SHARED_STEP_WORK": 0,
       "ROWS_AHEAD": 8, "PREACTIVATIONS_AHEAD": 64, "BPTT_SEGMENT_ROWS": 8, "INPUT_GRADIENT_ROWS": 8}  # fmt: skip


@pytest.mark.parametrize(("B", "H"), [(2, 33), (2, 40), (11, 9)])
def test_bits_do_not_depend_on_threads_calls_or_checkpoints(B, H, monkeypatch):
    for name, value in CUT.items():
        monkeypatch.setattr(thresholds, name, value)
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(13, B, 21)), rng.normal(size=(13, B, H))
    x[rng.random(x.shape) < 0.9] = 0  # rows without their zeros
    runs = []
    for threads, checkpoint in ((1, None),) * 5 + ((2, None), (3, None), (2, 4)):
        nblstm.set_num_threads(threads)
        network = nn.GRU(21, H, num_layers=2, precision="bfloat16", seed=0)
        runs.append(run(network, x, dy, checkpoint=checkpoint) | {"inference": network(x)[0]})
    for found in runs[1:]:
        for name, array in runs[0].items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
    np.testing.assert_array_equal(runs[0]["inference"], runs[0]["y"])


@pytest.mark.parametrize("H", [11, 12, 70])
def test_steppers_and_compiled_networks_have_the_same_bits(H):
    x = np.random.default_rng(0).normal(size=(6, 4, 7)).astype("f4")
    network = nn.LSTM(7, H, num_layers=2, precision="bfloat16", seed=0)
    y, stepper, step = network(x)[0], network.stepper(4), network.compiled(4)
    state = step.zero_state()
    for t in range(6):
        np.testing.assert_array_equal(stepper(x[t]), y[t])
        np.testing.assert_array_equal(step.step(x[t], state).reshape(4, H), y[t])


@pytest.mark.parametrize("H", [5, 6])
def test_jacobians_are_of_the_rounded_weights(H):
    network = nn.GRU(3, H, num_layers=2, precision="bfloat16", seed=0)
    exact = nn.GRU(3, H, num_layers=2, dtype="float64", seed=0)
    exact.load_state_dict({n: rounded(a).astype("f8") if a.ndim == 2 else a for n, a in network.state_dict().items()})
    x = np.random.default_rng(0).normal(size=3).astype("f4")
    made = network.compiled(), exact.compiled()
    found, expected = (m.jacobian(x.astype(m.dtype), m.zero_state()) for m in made)
    for own, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, right, atol=5e-3)  # pre-activations are rounded too
        assert np.abs(own - right).max() > 0


def test_copies_keep_it_and_files_leave_it_to_whoever_loads(tmp_path):
    network = nn.LSTM(3, 5, precision="bfloat16", seed=0)
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert other.precision == "bfloat16"
        np.testing.assert_array_equal(other(x)[0], network(x)[0])
    assert repr(network) == "LSTM(3, 5, precision='bfloat16')"
    network.save(tmp_path / "a.safetensors")
    assert nn.load(tmp_path / "a.safetensors").precision == "float32"
    nblstm.set_precision("bfloat16")
    np.testing.assert_array_equal(nn.load(tmp_path / "a.safetensors")(x)[0], network(x)[0])


def test_layers_take_the_precision_that_is_set():
    x, y = np.random.default_rng(0).normal(size=(8, 5, 3)), np.zeros((8, 1))
    outputs = []
    for name in ("float32", "mixed_bfloat16"):
        nblstm.set_precision(name)
        model = Sequential([layers.Input((5, 3)), layers.Bidirectional(layers.GRU(7)), layers.Dense(1)], seed=0)
        model.compile("sgd", "mse")
        losses = model.fit(x, y, epochs=3, verbose=0, shuffle=False).history["loss"]
        assert losses[2] < losses[0]
        outputs.append(model.predict(x, verbose=0))
    assert 0 < np.abs(outputs[0] - outputs[1]).max() < 1e-2


def test_not_a_number_and_infinities_stay():
    network = nn.RNN(2, 3, nonlinearity="relu", bias=False, precision="bfloat16", seed=0)
    x = np.ones((1, 3, 2), np.float32)
    x[0, 1, 0], x[0, 2, 0] = np.nan, np.inf
    y = network(x)[0][0]
    assert np.isfinite(y[0]).all()
    assert np.isnan(y[1]).all()
    assert (np.isinf(y[2]) | (y[2] == 0)).all()


def test_what_does_not_go_with_it():
    nblstm.set_precision("bfloat16")
    assert nn.LSTM(3, 4, dtype="float64").precision == "float64"
    assert nn.LSTM(3, 4, precision="float32").precision == "float32"
    message_of(ValueError, lambda: nblstm.set_precision("int8"), "'int8'", "'float32' and 'bfloat16'")
    message_of(ValueError, lambda: nn.LSTM(3, 4, precision="half"), "'half'", "'bfloat16'")
    message_of(ValueError, lambda: nn.LSTM(3, 4, dtype="float64", precision="bfloat16"), "'float64'", "leave one out")
