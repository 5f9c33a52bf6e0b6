"""Optimizers against Keras's traces and ten lines of NumPy; exact resume; modules that are frozen or do not fit."""

import re

import numpy as np
import pytest
from golden import keras_training
from tolerances import DTYPES, GRADIENT, OUTPUT, assert_close

from nblstm import CellError, clip, nn, tanh, where
from nblstm.buffers.layout import Layout
from nblstm.training import SGD, Adam, AdamW, RMSprop, optimizers
from nblstm.training.optimizers import Adadelta, Adagrad, Adamax, Lion, Nadam, Optimizer, schedules

RNG = np.random.default_rng(0)
START, DRAWN = keras_training.arrays("optimizers/p"), keras_training.arrays("optimizers/g")
SHAPES = {name: START[name].shape for name in ("kernel", "bias", "other")}
EVERY = {
    "sgd": (SGD, dict(momentum=0.9, nesterov=True)),
    "rmsprop": (RMSprop, dict(momentum=0.5, centered=True)),
    "adam": (Adam, dict(amsgrad=True)),
    "adamw": (AdamW, dict(global_clipnorm=1.0)),
    "nadam": (Nadam, dict(weight_decay=0.1)),
    "adagrad": (Adagrad, {}),
    "adadelta": (Adadelta, dict(clipvalue=0.5)),
    "adamax": (Adamax, {}),
    "lion": (Lion, {}),
    "schedule": (SGD, dict(learning_rate=schedules.InverseTimeDecay(0.1, 3, 0.5))),
}


def gradients_of(*arrays):
    return [nn.Gradients({}, array, np.zeros(0)) for array in arrays]


def modules_and_gradients(dtype):
    """Two modules with the golden parameters, and a function that gives the gradients of a step."""
    layouts = [Layout.of({name: SHAPES[name] for name in names}) for names in (("kernel", "bias"), ("other",))]

    def filled(layout, source):
        flat = np.empty(layout.size, dtype)
        for name, view in layout.views(flat).items():
            view[...] = source(name)
        return flat

    def gradients(step):
        flats = [filled(layout, lambda name: DRAWN[name][step]) for layout in layouts]
        return [nn.Gradients(layout.views(flat), flat, None) for layout, flat in zip(layouts, flats, strict=True)]

    return [nn.Module(layout, filled(layout, lambda name: START[name])) for layout in layouts], gradients


def made(name, options, modules):
    """The optimizer of a golden case."""
    rate = options.get("learning_rate")
    if isinstance(rate, str):
        kind, arguments = keras_training.CASES[f"schedules/{rate}"]
        options = options | {"learning_rate": getattr(schedules, kind)(**arguments)}
    return getattr(optimizers, name)(modules, **options)


# --- Keras ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", keras_training.cases("optimizers"))
def test_keras_traces(case, dtype):
    modules, gradients = modules_and_gradients(dtype)
    optimizer, trace = made(*keras_training.CASES[case], modules), keras_training.arrays(case)
    for step in range(len(trace["bias"])):
        optimizer.step(gradients(step))
        for name, value in (modules[0].parameters() | modules[1].parameters()).items():
            assert value.dtype == dtype
            assert_close(value, trace[name][step], OUTPUT[dtype])


# --- resume ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EVERY)
def test_resume_gives_the_same_bits(name, dtype):
    kind, options = EVERY[name]

    def steps(optimizer, gradients, span):
        for step in span:
            if step == 3 and name != "schedule":
                optimizer.learning_rate = 0.0123
            optimizer.step(gradients(step))

    whole, gradients = modules_and_gradients(dtype)
    steps(kind(whole, **options), gradients, range(12))

    stopped, _ = modules_and_gradients(dtype)
    optimizer = kind(stopped, **options)
    steps(optimizer, gradients, range(5))
    state, weights = optimizer.state(), [module.state_dict() for module in stopped]
    steps(optimizer, gradients, range(5, 7))  # what was saved does not see what comes after

    resumed, _ = modules_and_gradients(dtype)
    optimizer = kind(resumed, **options)
    for module, values in zip(resumed, weights, strict=True):
        module.load_state_dict(values)
    optimizer.load_state(state)
    assert optimizer.iterations == 5
    steps(optimizer, gradients, range(5, 12))
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(a.flat_parameters(), b.flat_parameters())


def test_a_state_is_plain_arrays():
    modules, gradients = modules_and_gradients("float32")
    optimizer = Adam(modules, amsgrad=True)
    optimizer.step(gradients(0))
    state = optimizer.state()
    assert {name: (value.shape, value.dtype.name) for name, value in state.items()} == {
        "iterations": ((), "int64"), "learning_rate": ((), "float64"),
        **{f"{slot}/{k}": ((size,), "float32") for k, size in enumerate((9, 4))
           for slot in ("momentum", "velocity", "velocity_hat")},
    }  # fmt: skip
    assert type(state["iterations"]) is np.ndarray


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda s: s.pop("velocity/1"), ValueError, "the state lacks velocity/1"),
        (lambda s: s.update({"momentum/2": np.zeros(3)}), ValueError, "has unknown momentum/2"),
        (lambda s: s.update({"momentum/0": np.zeros(3)}), ValueError, r"momentum/0 has shape \(3,\)"),
        (lambda s: s.update({"momentum/0": np.zeros(9, "f4")}), ValueError, "dtype float32; it needs .* float64"),
        (lambda s: s.update({"iterations": np.array(-1)}), ValueError, "iterations is -1"),
        (lambda s: s.update({"learning_rate": np.array(np.nan)}), ValueError, "learning_rate is nan"),
        (lambda s: s.update({"velocity/0": np.array(["a"] * 9)}), ValueError, "velocity/0 has shape"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, error, said):
    modules, gradients = modules_and_gradients("float64")
    optimizer = Adam(modules)
    optimizer.step(gradients(0))
    before, state = optimizer.state(), {k: v * 0 for k, v in optimizer.state().items()}
    change(state)
    with pytest.raises(error, match=said):
        optimizer.load_state(state)
    after = optimizer.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    with pytest.raises(TypeError, match="load_state got list"):
        optimizer.load_state([1])


@pytest.mark.parametrize("name", EVERY)
def test_a_configuration_makes_the_same_optimizer(name):
    kind, options = EVERY[name]
    first, gradients = modules_and_gradients("float64")
    second, _ = modules_and_gradients("float64")
    optimizer = kind(first, **options)
    again = optimizers.get(optimizer.record())
    again.build(second)
    assert again.record() == optimizer.record()
    for step in range(3):
        optimizer.step(gradients(step))
        again.step(gradients(step))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.flat_parameters(), b.flat_parameters())


# --- Adam -----------------------------------------------------------------------------------------


def numpy_adam(p, gradients, rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g * g
        alpha = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        p = p - alpha * m / (np.sqrt(v) + epsilon)
    return p


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, dict(beta_1=0.5, beta_2=0.9, epsilon=0.1), dict(beta_1=0.0)])
def test_adam(options, dtype):
    layers = [nn.Linear(5, 3, dtype=dtype, seed=0), nn.Linear(2, 4, dtype=dtype, seed=1)]
    before = [layer.flat_parameters().astype(np.float64) for layer in layers]
    drawn = [[RNG.normal(size=p.size).astype(np.float32) for p in before] for _ in range(6)]
    optimizer = Adam(layers, 0.01, **options)
    for flats in drawn:
        optimizer.step(gradients_of(*(flat.astype(dtype) for flat in flats)))
    assert optimizer.iterations == 6
    for k, layer in enumerate(layers):
        expected = numpy_adam(before[k], [flats[k].astype(np.float64) for flats in drawn], 0.01, **options)
        assert_close(layer.flat_parameters() - before[k], expected - before[k], GRADIENT[dtype])


def test_adam_of_one_module():
    layer, other = nn.Linear(5, 3, seed=0), nn.Linear(5, 3, seed=0)
    (gradients,) = gradients_of(np.ones(18, np.float32))
    Adam(layer).step(gradients)
    Adam([other]).step([gradients])
    np.testing.assert_array_equal(layer.flat_parameters(), other.flat_parameters())


def test_learning_rate_may_be_changed():
    layer = nn.Linear(5, 3, dtype="float64", seed=0)
    before = layer.flat_parameters().copy()
    optimizer = Adam([layer])
    optimizer.learning_rate = 0.0
    optimizer.step(gradients_of(np.ones(18)))
    np.testing.assert_array_equal(layer.flat_parameters(), before)


@pytest.mark.parametrize(
    ("gradients", "said"),
    [
        ((np.ones(18),), "gradients of 1 module, and the optimizer has 2 modules; give a list with"),
        ((np.ones(4), np.ones(18)), r"gradients\[0\] has 4 numbers, and modules\[0\] has 18 parameters.* order"),
        ((), "gradients of 0 modules"),
    ],
)
def test_gradients_that_do_not_fit_change_nothing(gradients, said):
    layers = [nn.Linear(5, 3, dtype="float64"), nn.Linear(3, 1, dtype="float64")]
    before = [layer.flat_parameters().copy() for layer in layers]
    optimizer = Adam(layers)
    with pytest.raises(ValueError, match=said):
        optimizer.step(gradients_of(*gradients))
    assert optimizer.iterations == 0
    for layer, flat in zip(layers, before, strict=True):
        np.testing.assert_array_equal(layer.flat_parameters(), flat)


# --- modules and gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_none_leaves_a_module_as_it_is(name):
    kind, options = EVERY[name]
    modules, gradients = modules_and_gradients("float64")
    alone, _ = modules_and_gradients("float64")
    optimizer, other = kind(modules, **options), kind(alone[0], **options)
    before = modules[1].flat_parameters().copy()
    for step in range(4):
        optimizer.step([gradients(step)[0], None])
        other.step([gradients(step)[0]])
    np.testing.assert_array_equal(modules[1].flat_parameters(), before)
    np.testing.assert_array_equal(modules[0].flat_parameters(), alone[0].flat_parameters())
    assert optimizer.iterations == 4


def test_modules_may_come_later():
    modules, gradients = modules_and_gradients("float64")
    optimizer = Adam(0.01, beta_1=0.5)  # as Keras has it
    assert optimizer.learning_rate == 0.01
    with pytest.raises(RuntimeError, match=r"no modules.*build"):
        optimizer.step(gradients(0))
    optimizer.build(modules)
    optimizer.step(gradients(0))
    same, _ = modules_and_gradients("float64")
    Adam(same, 0.01, 0.5).step(gradients(0))
    for a, b in zip(modules, same, strict=True):
        np.testing.assert_array_equal(a.flat_parameters(), b.flat_parameters())


def test_a_module_that_has_grown():
    modules, gradients = modules_and_gradients("float64")
    optimizer = Adam(modules)
    optimizer.modules[1] = nn.Linear(2, 3, dtype="float64")
    with pytest.raises(ValueError, match=r"have \[9, 9\] parameters and had \[9, 4\]"):
        optimizer.step(gradients(0))


def test_a_dtype_that_does_not_fit_changes_nothing():
    modules, _ = modules_and_gradients("float32")
    _, gradients = modules_and_gradients("float64")
    before = [module.flat_parameters().copy() for module in modules]
    with pytest.raises(ValueError, match="gradients have dtype float64; the module has float32"):
        Adam(modules).step(gradients(0))
    for module, flat in zip(modules, before, strict=True):
        np.testing.assert_array_equal(module.flat_parameters(), flat)


def test_centered_rmsprop_of_a_constant_gradient_stays_finite():
    module = nn.Linear(3, 1, seed=0)
    optimizer = RMSprop([module], centered=True)
    for _ in range(300):
        optimizer.step(gradients_of(np.full(4, 37.7, np.float32)))
    assert np.isfinite(module.flat_parameters()).all()


@pytest.mark.parametrize("make", [lambda: SGD(momentum=0.5), lambda: RMSprop(momentum=0.5, centered=True), Adam])
def test_what_was_forgotten_is_zero(make):
    """A moment that decays for ever ends as 0, and not as a subnormal number, which would make each step slow."""
    linear = nn.Linear(3, 2, seed=0)
    optimizer = make()
    optimizer.build(linear)
    gradient = nn.Gradients({}, np.ones(8, "float32"), None)
    optimizer.step([gradient])
    gradient.flat[:] = 0
    seen = []
    for _ in range(1500):
        optimizer.step([gradient])
        seen += [np.abs(slot).min() for slot in optimizer.state().values() if slot.shape == (8,)]
    assert min(value for value in seen if value) > np.finfo("float32").tiny
    assert 0 in seen


class Signs(Optimizer):
    """An optimizer of the user's own: fixed steps against the sign of a running sum."""

    def __init__(self, modules=None, learning_rate=0.5, *, weight_decay=None):
        super().__init__(modules, learning_rate, weight_decay, None, None, None)

    def slot_names(self):
        return ("total",)

    def update(self, p, g, slots, rate):
        slots["total"] += g
        p -= rate * np.sign(slots["total"])


def test_an_equation_of_arrays():
    linear = nn.Linear(2, 1, seed=0)
    linear.load_state_dict({"weight": [[1.0, 2.0]], "bias": [3.0]})
    optimizer = Signs(linear, weight_decay=0.1)
    for g in ([1, -1, 0], [-3, -1, 0]):
        optimizer.step([nn.Gradients({}, np.array(g, "float32"), None)])
    # Twice p - 0.05 p, then 0.5 down, up, not at all; and 0.5 up, up, not at all.
    expected = [(1 * 0.95 - 0.5) * 0.95 + 0.5, (2 * 0.95 + 0.5) * 0.95 + 0.5, 3 * 0.95**2]
    assert_close(linear.flat_parameters(), expected, OUTPUT["float32"])


class Clipped(Optimizer):
    """An optimizer of the user's own with a compiled equation, which closes over a number."""

    def __init__(self, modules=None, limit=0.5):
        self.limit = limit
        super().__init__(modules, 0.25, None, None, None, None)

    def slot_names(self):
        return ("mean",)

    def equation(self):
        limit = self.limit

        def clipped(p, g, mean, rate):
            mean += rate * (clip(g, -limit, limit) - mean)
            return p - where(g > 0, mean, tanh(mean)), mean

        return clipped

    def constants(self, rate):
        return (rate,)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_equation_of_numbers(dtype):
    """Each number that it closes over is in its own kernel."""
    g = np.array([2.0, -3.0, 0.25], dtype)
    for limit in (0.5, 1.5, 0.5):
        linear = nn.Linear(2, 1, dtype=dtype)
        linear.flat_parameters()[:] = [1.0, 2.0, 3.0]
        optimizer, p, mean = Clipped(linear, limit), np.array([1.0, 2.0, 3.0]), np.zeros(3)
        for _ in range(3):
            optimizer.step([nn.Gradients({}, g, None)])
            mean += 0.25 * (np.clip(g, -limit, limit) - mean)
            p -= np.where(g > 0, mean, np.tanh(mean))
        assert_close(linear.flat_parameters(), p, OUTPUT[dtype])
        assert_close(optimizer.state()["mean/0"], mean, OUTPUT[dtype])


@pytest.mark.parametrize(
    ("equation", "said"),
    [
        (lambda p, g, mean, rate: (p - rate * g if g > 0 else p, mean), "decides with `if`"),
        (lambda p, g, mean, rate: (p - rate * np.sqrt(g), mean), "calls numpy.sqrt"),
        (lambda p, g, mean, rate: p - rate * g, "returns 1 values for p, g, s0, c0; return 2"),
        (lambda p, g, mean, rate: (p + RNG.normal(), mean), "something else each time"),
        (lambda p, g: (p, g), "could not be traced"),
    ],
)
def test_what_is_no_equation(equation, said, monkeypatch):
    linear = nn.Linear(2, 1, seed=0)
    before = linear.flat_parameters().copy()
    monkeypatch.setattr(Clipped, "equation", lambda self: equation)
    with pytest.raises(CellError, match="the optimizer's equation .*" + re.escape(said)):
        Clipped(linear).step([nn.Gradients({}, np.ones(3, "float32"), None)])
    np.testing.assert_array_equal(linear.flat_parameters(), before)


def test_an_optimizer_without_an_equation():
    class Nothing(Optimizer):
        def __init__(self):
            super().__init__(None, 0.1, None, None, None, None)

        def slot_names(self):
            return ()

    optimizer, linear = Nothing(), nn.Linear(2, 1)
    optimizer.build(linear)
    with pytest.raises(NotImplementedError, match="Nothing has no constants; define"):
        optimizer.step([nn.Gradients({}, np.zeros(3, "float32"), None)])


def test_large_modules_are_updated_as_small_ones():
    """Several blocks, on all threads: the same bits as each number alone."""
    n = 100_003
    values, gradient = RNG.normal(size=n).astype("float32"), RNG.normal(size=n).astype("float32")
    large = nn.Module(Layout.of({"w": (n,)}), values.copy())
    part = slice(70_000, 70_100)
    small = nn.Module(Layout.of({"w": (100,)}), values[part].copy())
    for module, g in ((large, gradient), (small, gradient[part])):
        optimizer = Adam(module, amsgrad=True, weight_decay=0.1)
        for _ in range(3):
            optimizer.step([nn.Gradients({"w": g}, g, None)])
    assert np.array_equal(large.flat_parameters()[part], small.flat_parameters())
