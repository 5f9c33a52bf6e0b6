"""Steps of networks in CUDA kernels that users write: in Numba's simulator against the oracle, and as PTX."""

import re
from importlib.util import find_spec

import numba
import numpy as np
import pytest
import reference
from cuda_cells import STEPS, plain
from networks import CELLS
from processes import run_python
from tolerances import DTYPES, OUTPUT, assert_close

from nblstm import cell, cells, mean, nn, tanh
from nblstm.cuda import device_function
from nblstm.cuda.gpu import A100, H100

cuda = pytest.importorskip("numba.cuda", reason="neither numba.cuda nor numba-cuda is installed")

#: Steps, rows and inputs.
T, N, I = 3, 2, 3


@cell(gates="a b", states="h", called="b", scalars="alpha")
def residual(a, b, h, x, alpha):
    """X itself, and a product of what depends on a sum."""
    return tanh(a) * x + b(x * h - mean(a)) * alpha


def network(name, H=4, num_layers=2, dtype="float64", **options):
    """A network of nblstm with the oracle's parameters, and those."""
    cell, oracle = CELLS[name]
    rng = np.random.default_rng(len(name))
    bias = options.get("bias", True)
    parameters = reference.random_parameters(oracle, I, H, num_layers, False, rng, bias)
    made = nn.Recurrent(cell, I, H, num_layers, dtype=dtype, device="cpu", **options)
    for key, value in parameters.items():
        made.parameters()[key][...] = value
    return made, parameters


def kernel_for(lstm):
    """A user's kernel, that of the example in `device_function`, and its parameters."""
    step, params = lstm.device_function()
    size, real, H = step.state_size, getattr(numba, lstm.dtype), lstm.proj_size or lstm.hidden_size

    def roll(params, x, y):
        n = cuda.grid(1)
        if n < x.shape[0]:
            state = cuda.local.array(size, real)
            for k in range(size):
                state[k] = params[k]
            for t in range(x.shape[1]):
                outputs = step(params, x[n, t], state)
                for u in range(H):
                    y[n, t, u] = outputs[u]

    return roll, params


def launched(lstm, x):
    """Outputs (N, T, H) of the kernel."""
    roll, params = kernel_for(lstm)
    y = np.full((*x.shape[:2], lstm.proj_size or lstm.hidden_size), np.nan, lstm.dtype)
    cuda.jit(roll).forall(len(x))(params, x, y)
    return y


def check_all():
    """Every cell, one and two layers, with and without bias, from given and from learned initial states."""
    x = np.random.default_rng(0).normal(size=(N, T, I))
    for dtype in DTYPES:
        for k, name in enumerate(CELLS):
            bias, num_layers, oracle = k % 3 > 0, 1 + k % 2, CELLS[name][1]
            lstm, parameters = network(name, 4 + k % 2, num_layers, dtype, bias=bias)
            expected, _ = reference.forward(
                oracle, parameters, x.transpose(1, 0, 2), num_layers=num_layers, bias=bias
            )  # fmt: skip
            assert_close(launched(lstm, x.astype(dtype)), expected.transpose(1, 0, 2), OUTPUT[dtype])
    learned, parameters = network("lstm", learn_initial_state=True)
    starts = [np.random.default_rng(k).normal(size=(2, 1, 4)) for k in range(2)]
    for state, start in zip("hc", starts, strict=True):
        for layer in range(2):
            learned.parameters()[f"initial_{state}_l{layer}"][...] = start[layer, 0]
    states = [np.repeat(start, N, axis=1) for start in starts]
    expected, _ = reference.forward(CELLS["lstm"][1], parameters, x.transpose(1, 0, 2), states, num_layers=2)
    assert_close(launched(learned, x), expected.transpose(1, 0, 2), OUTPUT["float64"])
    assert_close(launched(learned, x.astype("f4")), expected.transpose(1, 0, 2), OUTPUT["float32"])
    check_the_language(x)
    first, second = learned.device_function(), network("lstm")[0].device_function()
    assert first[0] is second[0], "a step is compiled anew for other parameters"
    assert first[0].state_size == 2 * 2 * 4


def check_the_language(x):
    """Stages, sums over units, x itself, scalars, recurrent matrices, projections: as the CPU's engine has them."""
    made = [(own, {}) for own in (*STEPS.values(), plain) if not own.signals]
    made += [(cells.lstm.with_matrix(cells.heads(2)), {}), (cells.lstm, {"proj_size": 3}), (residual, {})]
    for own, options in made:
        lstm = nn.Recurrent(own, 4 if own.takes_x else I, 4, 2, dtype="float64", device="cpu", seed=0, **options)
        given = np.ascontiguousarray(np.concatenate([x, x], -1)[..., : lstm.input_size])
        expected, _ = lstm(given.transpose(1, 0, 2))
        assert_close(launched(lstm, given), expected.transpose(1, 0, 2), OUTPUT["float64"])


def test_every_cell_in_the_simulator():
    run_python("import test_device_function as t; t.check_all()", NUMBA_ENABLE_CUDASIM="1")


def test_every_cell_on_a_gpu():
    if find_spec("numba_cuda") is None:
        pytest.skip("numba-cuda is not installed: pip install -e '.[cuda]'")
    if not cuda.is_available():
        pytest.skip("there is no GPU")
    check_all()


@pytest.mark.parametrize(
    ("name", "H", "num_layers", "dtype", "gpu"),
    [("lstm", 32, 2, "float32", H100), ("gru_reset_before", 16, 1, "float32", A100),
     ("lstm_peephole", 8, 1, "float64", H100)],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_compiled_for_a_gpu(name, H, num_layers, dtype, gpu):
    if find_spec("numba_cuda") is None:
        pytest.skip("numba-cuda is not installed: pip install -e '.[cuda-compiler]'")
    cubin = pytest.importorskip("nblstm.cuda.cubin", exc_type=ImportError)
    roll, _ = kernel_for(network(name, H, num_layers, dtype)[0])
    real = getattr(numba, dtype)
    kinds = numba.void(real[::1], real[:, :, ::1], real[:, :, ::1])
    ptx, _ = cuda.compile(roll, kinds, device=False, cc=gpu.capability, output="ptx", abi="numba")
    ptx = ptx.decode() if isinstance(ptx, bytes) else ptx
    assert not re.search(r"\bcall\b|\.extern \.func", ptx), "a function of a library"
    assert dtype == "float64" or not re.search(r"\.f64\b", ptx), "float64 in a float32 kernel"
    assert "fma.rn" in ptx
    log = cubin.link(ptx, gpu.capability)[1]
    assert re.search(r"\b0 bytes spill stores, 0 bytes spill loads", log), log


@pytest.mark.parametrize(
    ("lstm", "message"),
    [
        (nn.LSTM(3, 33, device="cpu"), "got a network of 33 units; one thread computes all of them, so give one of 32"),
        (nn.GRU(3, 8, bidirectional=True, device="cpu"), "needs a network that reads forwards"),
        (nn.GRU(3, 8, reverse=True, device="cpu"), "needs a network that reads forwards"),
        (nn.Recurrent(STEPS["without_input"], 3, 8, device="cpu"), "'without_input', which takes signals beside x"),
    ],
)
def test_networks_that_cannot_step_in_a_thread_are_refused(lstm, message):
    with pytest.raises(ValueError, match=message):
        lstm.device_function()


def test_without_the_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(device_function, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="needs the package numba-cuda, which is not installed; pip install"):
        nn.LSTM(3, 8, device="cpu").device_function()
