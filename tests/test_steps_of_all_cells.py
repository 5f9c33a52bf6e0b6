"""Cells of the whole language one step at a time, compiled and from Python: the bits of the engine on the sequence."""

import kinds_of_cells
import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError
from test_jacobian import assert_is, central_differences

from nblstm import nn
from nblstm.numba_extension.compiled_network import CompiledNetwork
from nblstm.numba_extension.recurrent_part import RecurrentPart

CELLS = kinds_of_cells.CELLS


def network(name, I=6, layers=2, dtype="float64"):
    made = nn.Recurrent(CELLS[name], I, 6, layers, dtype=dtype, seed=0)
    for parameter in made.parameters().values():
        parameter *= 1.5
    return made


def given(name, B, T=5, dtype="float64", H=6):
    """x (T, B, I), and signals."""
    rng = np.random.default_rng(B)
    x = rng.normal(size=(T, B, 6)).astype(dtype)
    return x, kinds_of_cells.signals_of(CELLS[name], (T, B), H, rng, dtype)


def for_each_unit(signals, H=6):
    """Signals as an array (T, B, K, H)."""
    own = [array if array.ndim == 3 else array[..., None].repeat(H, 2) for array in signals.values()]
    return np.stack(own, 2)


@njit
def rolled(net, x, s, y):
    for t in range(len(x)):
        y[t] = net.step(x[t], s)


@njit
def rolled_with_signals(net, x, signals, s, y):
    for t in range(len(x)):
        y[t] = net.step(x[t], s, signals[t])


@njit
def jacobian(net, x, s, signals):
    return net.jacobian(x, s, signals)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("name", CELLS)
def test_compiled_steps(name, B, dtype):
    made, (x, signals) = network(name, dtype=dtype), given(name, B, dtype=dtype)
    net = made.compiled(B)
    expected, states = made(x, signals=signals or None)
    s, t, y = net.zero_state(), net.zero_state(), np.empty_like(expected)
    assert net.num_signals == len(signals)
    if signals:
        units = for_each_unit(signals)
        rolled_with_signals(net, x, units, s, y)
        plain = np.stack([net.step(x_t, t, own).copy() for x_t, own in zip(x, units, strict=True)])
    else:
        rolled(net, x, s, y)
        plain = np.stack([net.step(x_t, t).copy() for x_t in x])
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(plain, expected)
    np.testing.assert_array_equal(s, t)
    for ours, theirs in zip(net.states(s), states, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("name", CELLS)
def test_steps_of_a_stepper(name, B):
    made, (x, signals) = network(name, dtype="float32"), given(name, B, dtype="float32")
    expected, states = made(x, signals=signals or None)
    step = made.stepper(B)
    for t in range(len(x)):
        y = step(x[t], {key: own[t] for key, own in signals.items()}) if signals else step(x[t])
        np.testing.assert_array_equal(y, expected[t])
    for ours, theirs in zip(step.state, states, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_signals_of_a_step():
    """A number, (B,) or (B, H) for each; of one row (H,) too."""
    made, (x, signals) = network("decay"), given("decay", 3)
    step, alike = made.stepper(3), made.stepper(3)
    dt, keep = signals["dt"][0], signals["keep"][0]
    y = step(x[0], signals={"dt": dt, "keep": 0.25}).copy()
    full = {"keep": np.full((3, 6), 0.25), "dt": np.repeat(dt[:, None], 6, axis=1)}
    np.testing.assert_array_equal(y, alike(x[0], signals=full))
    np.testing.assert_array_equal(step(x[1], signals={"dt": list(dt), "keep": keep.astype("f4")}),
                                  alike(x[1], signals={"dt": dt, "keep": keep.astype("f4")}))  # fmt: skip
    one, batched = made.stepper(), made.stepper()
    expected = batched(x[0, :1], signals={"dt": dt[:1], "keep": keep[:1]})
    np.testing.assert_array_equal(one(x[0, 0], signals={"dt": float(dt[0]), "keep": keep[0]}), expected[0])


def test_a_stepper_takes_parameters_and_threads_as_they_are():
    import nblstm

    made, (x, signals) = network("decay"), given("decay", 3)
    step, before = made.stepper(3), nblstm.num_threads()
    own = {key: value[0] for key, value in signals.items()}
    try:
        for threads in (1, 2, 1):
            nblstm.set_num_threads(threads)
            made.parameters()["weight_ih_l0"][...] *= 1.1
            state = step.state
            y = step(x[0], signals=own)
            expected, _ = made(x[:1], state, signals={key: value[:1] for key, value in signals.items()})
            np.testing.assert_array_equal(y, expected[0])
    finally:
        nblstm.set_num_threads(before)


def test_wrong_signals_of_a_step():
    made, (x, signals) = network("decay"), given("decay", 3)
    step = made.stepper(3)
    own = {key: value[0] for key, value in signals.items()}
    before = step.state
    for wrong, message in [
        (None, "^no signals are given; give a dict of arrays for 'dt', 'keep'$"),
        ({"dt": 1.0}, "^signals has 'dt'; give a dict of arrays for 'dt', 'keep'$"),
        ({**own, "dt": np.ones(2)}, r"^signals\['dt'\] has shape \(2,\); give a number, \(B,\) = \(3,\)"),
        ({**own, "dt": np.ones(6)}, r"^signals\['dt'\] has shape \(6,\); give a number, \(B,\) = \(3,\), or"),
        (0.5, "^signals has float; give"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            step(x[0], signals=wrong)
    with pytest.raises(TypeError, match=r"^signals\['dt'\] "):
        step(x[0], signals={**own, "dt": "much"})
    np.testing.assert_array_equal(step.state, before)
    with pytest.raises(ValueError, match=r"^signals has 'dt'; give none, as the cell has none"):
        network("three_stages").stepper(3)(x[0], signals={"dt": 1.0})


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", CELLS)
def test_jacobian(name, layers):
    made, (x, signals) = network(name, layers=layers), given(name, 1)
    net = made.compiled()
    n, s, rng = net.recurrent_size, net.zero_state(), np.random.default_rng(4)
    s[:n] = rng.normal(size=n)
    own = (for_each_unit(signals)[0, 0],) if signals else ()

    def step(v):
        t = s.copy()
        t[:n] = v[:n]
        y = net.step(v[n:], t, *own).copy()
        return np.concatenate([t[:n], y])

    # The derivative of stop_gradient is not that of its number.
    expected = central_differences(step, np.concatenate([s[:n], x[0, 0]]))
    found = net.jacobian(x[0, 0], s, *own)
    if name == "everything":
        gradients = np.stack([backward_row(made, x, signals, s[:n], k) for k in range(n)])
        np.testing.assert_allclose(np.concatenate(found[:2], axis=1), gradients, rtol=0, atol=1e-12)
    else:
        assert_is(found, expected, n)
    if own:
        for compiled, plain in zip(jacobian(net, x[0, 0], s, *own), found, strict=True):
            np.testing.assert_array_equal(compiled, plain)


def backward_row(made, x, signals, v, k):
    """Row k of A and B by BPTT through one step."""
    shape = (len(made.cell.states), made.num_layers, 1, made.hidden_size)
    first = {key: own[:1, :1] for key, own in signals.items()}
    _, _, tape = made.forward(x[:1, :1], tuple(v.reshape(shape)), signals=first)
    seed = np.zeros(len(v))
    seed[k] = 1
    gradients = made.backward(tape, None, tuple(seed.reshape(shape)))
    return np.concatenate([np.stack(gradients.state).ravel(), gradients.x.ravel()])


def test_forms_of_signals_of_a_compiled_step():
    """(K,) and (K, H) for one row, (B, K) and (B, K, H) for some; in Python and in compiled functions."""

    @njit
    def step(net, x, s, signals):
        return net.step(x, s, signals).copy()

    made, (x, _) = network("decay"), given("decay", 3)
    for B in (1, 3):
        net = made.compiled(B)
        for numbers in (np.array([0.5, 0.25]), np.random.default_rng(0).uniform(size=(B, 2)).astype("f4")):
            numbers = np.broadcast_to(numbers, (B, 2))
            units = np.repeat(numbers[..., None], 6, axis=2)
            forms = [np.ascontiguousarray(numbers), units, units.transpose(2, 1, 0).copy().transpose(2, 1, 0)]
            forms += [forms[0][0], units[0]] * (B == 1)
            results = [call(net, x[0, :B], net.zero_state(), own) for own in forms for call in (step, step.py_func)]
            for result in results[1:]:
                np.testing.assert_array_equal(result, results[0])


def test_wrong_signals_of_a_compiled_step():
    @njit
    def without(net, x, s):
        return net.step(x, s)[0, 0]

    @njit
    def having(net, x, s, signals):
        return net.step(x, s, signals)[0, 0]

    net, plain = network("decay").compiled(3), network("three_stages").compiled(3)
    x, needed = np.ones((3, 6)), r"give \(3, 2\), or \(3, 2, 6\) with a number for each unit$"
    for call in (without, without.py_func):
        with pytest.raises(ValueError, match=f"^no signals are given, and the cell takes 2, in its order: {needed}"):
            call(net, x, net.zero_state())
    for call in (having, having.py_func):
        for wrong in (np.ones(2), np.ones((2, 3)), np.ones((3, 3)), np.ones((3, 2, 5))):
            with pytest.raises(ValueError, match=rf"^signals has shape .*, and the cell takes 2, in its .*: {needed}"):
                call(net, x, net.zero_state(), wrong)
        with pytest.raises(ValueError, match=r"^signals has shape \(3, 2\), and this network takes none; leave"):
            call(plain, x, plain.zero_state(), np.ones((3, 2)))
    with pytest.raises(TypingError, match="signals is int64; give an array of float32 or float64"):
        having(net, x, net.zero_state(), 1)
    with pytest.raises(TypeError, match="signals has int64 of 0 dimensions; give an array of float32 or float64"):
        net.step(x, net.zero_state(), 1)


def test_signals_are_of_a_network_alone():
    parts = [RecurrentPart.of(network(name)) for name in ("three_stages", "decay")]
    with pytest.raises(
        ValueError, match=r"^a stack whose cells take signals cannot be compiled; compile its layers one"
    ):
        CompiledNetwork(parts, 1, "layers")
