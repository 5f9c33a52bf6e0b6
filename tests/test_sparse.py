"""Inputs that are mostly zeros, such as one-hot rows: the kernels skip the zeros, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from networks import CELLS, Case, network, problem, rounded
from tolerances import DIFFERENCES, DTYPES, OUTPUT, assert_close

import nblstm
from nblstm.cpu import partition, thresholds

#: Cut by rows, by hidden units and over segments of time.
CASES = {
    "rows": Case(T=13, B=21, I=67, H=33),
    "few_rows": Case(T=9, B=2, I=103, H=131),
    "one_row": Case(T=5, B=1, I=97, H=193),
    "ragged": Case(T=40, B=11, I=71, H=29, bidirectional=True, lengths=(3, 40, 0, 17, 40, 1, 39, 22, 0, 8, 31)),
    "segments": Case(T=190, B=9, I=45, H=23, bidirectional=True),
}  # fmt: skip


def one_hot(rng, T, B, I):
    """One 1 in each row."""
    return np.eye(I)[rng.integers(I, size=(T, B))]


def scattered(rng, T, B, I, fill=0.03):
    """Numbers of both signs among zeros; some rows have none, others several."""
    return rounded(rng.normal(size=(T, B, I))) * (rng.random((T, B, I)) < fill)


def first_steps(rng, T, B, I):
    """One-hot at first, dense later."""
    x = rounded(rng.normal(size=(T, B, I)))
    x[: T // 2] = one_hot(rng, T // 2, B, I)
    return x


PATTERNS = {
    "one_hot": one_hot,
    "scattered": scattered,
    "half": lambda *sizes: scattered(*sizes, fill=0.5),
    "zeros": lambda rng, *shape: np.zeros(shape),
    "first_steps": first_steps,
    "last_steps": lambda *sizes: first_steps(*sizes)[::-1],
    "last_column": lambda rng, T, B, I: np.broadcast_to(-2.5 * np.eye(I)[-1], (T, B, I)),
}


def inputs(pattern, case):
    """Of a case, by a pattern, always the same."""
    return PATTERNS[pattern](np.random.default_rng(0), case.T, case.B, case.I)


@pytest.fixture(autouse=True)
def _undo(monkeypatch):
    monkeypatch.setattr(partition, "cores", lambda: 64)  # threads share steps even where cores are few
    # Zeros are looked for in small products, too.
    monkeypatch.setattr(thresholds, "SPARSE_GRADIENT_WORK", 0)
    monkeypatch.setattr(thresholds, "sparse_limit", lambda n, columns: n // 20)
    before = nblstm.num_threads()
    yield
    nblstm.set_num_threads(before)


def results(net, p, x, lengths, dy=None, dstates=None):
    """Outputs, final states and gradients, those for x last, and inference once more."""
    y, finals, tape = net.forward(x, p.states, lengths)
    y_inference, _ = net(x, p.states, lengths)
    np.testing.assert_array_equal(y_inference, y)
    gradients = net.backward(tape, p.dy if dy is None else dy, p.dstates if dstates is None else dstates)
    return [y, *finals, gradients.flat, *gradients.state, gradients.x]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("case", CASES)
def test_outputs(case, pattern, dtype):
    case = CASES[case]
    for cell in ("lstm", "gru_reset_before") if pattern in ("one_hot", "first_steps") else ("lstm",):
        made, oracle = CELLS[cell]
        p, x = problem(oracle, case), inputs(pattern, case)
        y, finals = network(made, oracle, case, dtype)(x, p.states, case.lengths)
        expected_y, expected_finals = reference.forward(oracle, p.params, x, p.states, **case.options)
        for ours, theirs in zip((y, *finals), (expected_y, *expected_finals), strict=True):
            assert_close(ours, theirs, OUTPUT[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", ["one_hot", "scattered"])
@pytest.mark.parametrize("case", ["rows", "ragged", "segments"])
def test_gradients(case, pattern, dtype):
    case, (made, oracle) = CASES[case], CELLS["lstm"]
    net, p, x = network(made, oracle, case, dtype), problem(oracle, case), inputs(pattern, case)
    samples = 2 if case.T > 100 else 8
    expected = reference.loss_gradients(
        oracle, p.params, x, p.dy, p.dstates, p.states, samples=samples, **case.options
    )  # fmt: skip
    for _ in range(2):  # the first may only ask for the kernel
        gradients = net.backward(net.forward(x, p.states, case.lengths)[2], p.dy, p.dstates)
        for name, gradient in gradients.params.items():
            assert_close(gradient, expected[name], DIFFERENCES[dtype])
        assert_close(gradients.x, expected["x"], DIFFERENCES[dtype])


@pytest.mark.parametrize("pattern", ["one_hot", "scattered", "first_steps"])
@pytest.mark.parametrize("case", CASES)
def test_same_bits_for_any_number_of_threads(case, pattern):
    case, (made, oracle) = CASES[case], CELLS["gru"]
    net, p, x = network(made, oracle, case, "float32"), problem(oracle, case), inputs(pattern, case)
    nblstm.set_num_threads(1)
    expected = results(net, p, x, case.lengths)
    for count in (2, 3, 7):
        nblstm.set_num_threads(count)
        for ours, theirs in zip(results(net, p, x, case.lengths), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", ["one_hot", "scattered", "zeros"])
@pytest.mark.parametrize("case", ["rows", "few_rows", "one_row", "ragged"])  # one segment of BPTT each, in both batches
def test_same_bits_as_with_dense_neighbours(case, pattern, dtype):
    """Rows that are not mostly zeros, in the same batch, make the whole product a dense one.

    Their gradients come from outputs whose gradient is 0, and add nothing.
    """
    case, (made, oracle) = CASES[case], CELLS["lstm"]
    net, p, x = network(made, oracle, case, dtype), problem(oracle, case), inputs(pattern, case)
    nblstm.set_num_threads(1)
    results(net, p, x, case.lengths)  # the first may only ask for a kernel
    more = 2 * case.B
    crowd = problem(oracle, replace(case, B=more, lengths=case.lengths and 2 * case.lengths))

    def beside(a, b, axis=1):
        return np.concatenate([a, b], axis)

    lengths = case.lengths and 3 * case.lengths
    q = replace(p, states=[beside(*both) for both in zip(p.states, crowd.states, strict=True)])
    wide = results(net, q, beside(x, crowd.x), lengths, beside(p.dy, 0 * crowd.dy),
                   [beside(*both) for both in zip(p.dstates, [0 * d for d in crowd.dstates], strict=True)])  # fmt: skip
    for ours, theirs in zip(results(net, p, x, case.lengths), wide, strict=True):
        np.testing.assert_array_equal(ours, theirs if ours.ndim == 1 else theirs[:, : case.B])


@pytest.mark.parametrize("case", CASES)
def test_weights_of_zeros_are_not_read(case):
    """A weight that is NaN tells whether anything was multiplied by it."""
    case, (made, oracle) = CASES[case], CELLS["lstm"]
    net, p = network(made, oracle, case, "float32"), problem(oracle, case)
    x = inputs("one_hot", case)
    x[..., case.I // 2] = 0
    expected = net(x, p.states, case.lengths)[0]
    for name, parameter in net.parameters().items():
        if name.startswith("weight_ih"):
            parameter[:, case.I // 2] = np.nan
    np.testing.assert_array_equal(net(x, p.states, case.lengths)[0], expected)
    x[0] = 1
    assert np.isnan(net(x, p.states, case.lengths)[0]).any()


@pytest.mark.parametrize("case", ["rows", "ragged", "segments"])
def test_gradients_of_zeros_are_not_read(case):
    """Nor does an input that is always 0 let a NaN into its weights' gradients."""
    case, (made, oracle) = CASES[case], CELLS["gru"]
    net, p = network(made, oracle, case, "float32"), problem(oracle, case)
    x, dy = inputs("one_hot", case), p.dy.copy()
    x[..., case.I // 2] = 0
    dy[0, 1] = np.nan
    for _ in range(2):
        params = net.backward(net.forward(x, p.states, case.lengths)[2], dy, p.dstates).params
    assert np.isnan(params["weight_ih_l0"]).any()
    assert not params["weight_ih_l0"][:, case.I // 2].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e-30])
def test_what_is_no_zero(value):
    net, x = nblstm.nn.RNN(64, 64, bias=False, seed=0), np.zeros((3, 2, 64))
    x[1, 1, 63] = value
    y, _ = net(x)
    assert (y[1, 1] != 0).all()
    assert not y[:, 0].any()
    assert not y[0].any()
