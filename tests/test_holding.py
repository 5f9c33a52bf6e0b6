"""Layers that hold layers: their parameters are pieces of one buffer, and all that a layer can do follows."""

import copy
import pickle

import numpy as np
import pytest
from differences import differences
from messages import message_of
from tolerances import DIFFERENCES, assert_close

from nblstm import layers
from nblstm.layers import LSTM, Dense, Dropout, Input, Layer, TimeDistributed, register
from nblstm.layers.base import parameters
from nblstm.models import Sequential, load_model

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3))


@register()
class Gated(Layer):
    """``scale * value(x) * gate(x)``, with two Dense layers within."""

    min_ndim = 2

    def __init__(self, units, penalty=None, constraint=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.penalty, self.constraint = units, penalty, constraint
        self.value = self.hold(Dense(units, kernel_regularizer=penalty, dtype=self.dtype), "value_")
        self.gate = self.hold(Dense(units, "sigmoid", bias_constraint=constraint, dtype=self.dtype), "gate_")

    def _parameters_for(self, shape):
        return {"scale": layers.Parameter((self.units,), layers.initializers.Constant(2.0))}

    def _output_shape(self, shape):
        return (*shape[:-1], self.units)

    def _forward(self, x, training, mask, generator):
        v, v_tape = self.value.forward(x, training=training, generator=generator)
        g, g_tape = self.gate.forward(x, training=training, generator=generator)
        return self._own["scale"] * v * g, (v, g, v_tape, g_tape)

    def _backward(self, saved, dy, gradients, input_gradient):
        v, g, v_tape, g_tape = saved
        (dy * v * g).reshape(-1, self.units).sum(axis=0, out=gradients["scale"])
        dy = dy * self._own["scale"]
        dx, _ = self.value.backward(v_tape, dy * g, input_gradient=input_gradient, into=gradients[self.value])
        dx_gate, _ = self.gate.backward(g_tape, dy * v, input_gradient=input_gradient, into=gradients[self.gate])
        return dx + dx_gate if input_gradient else None


@register()
class Twice(Layer):
    """One layer behind the other, the first with dropout: ``second(dropout(first(x)))``."""

    def __init__(self, units, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.seed = units, seed
        self.first = self.hold(Gated(units, dtype=self.dtype), "first_")
        self.drop = self.hold(Dropout(0.5, seed=seed, dtype=self.dtype), "drop_")
        self.second = self.hold(Dense(1, dtype=self.dtype), "second_")

    def _held_shape(self, layer, shape):
        return shape if layer is self.first else (*shape[:-1], self.units)

    def _output_shape(self, shape):
        return (*shape[:-1], 1)

    def _forward(self, x, training, mask, generator):
        tapes = []
        for layer in self.held_layers.values():
            x, tape = layer.forward(x, training=training, generator=generator)
            tapes.append(tape)
        return x, tapes

    def _backward(self, saved, dy, gradients, input_gradient):
        for layer, tape in zip(reversed(self.held_layers.values()), reversed(saved), strict=True):
            needed = input_gradient or layer is not self.first
            dy, _ = layer.backward(tape, dy, input_gradient=needed, into=gradients[layer])
        return dy


def built(layer):
    layer.build((None, 3), np.random.default_rng(1))
    return layer


def test_names_shapes_and_order():
    layer = built(Gated(2))
    names = ["scale", "value_kernel", "value_bias", "gate_kernel", "gate_bias"]
    assert list(layer.state_dict()) == list(layer.described) == names
    assert [w.shape for w in layer.get_weights()] == [(2,), (3, 2), (2,), (3, 2), (2,)]
    assert layer.count_params() == 2 + layer.value.count_params() + layer.gate.count_params() == 18
    nested = built(Twice(2))
    assert list(nested.state_dict()) == [*(f"first_{name}" for name in names), "second_kernel", "second_bias"]
    assert {name: p.shape for name, p in Twice(2).describe((None, 3)).items()} == nested._layout.shapes


@pytest.mark.parametrize("make", [lambda: Gated(2, dtype="float64"), lambda: Twice(2, dtype="float64")])
def test_gradients_are_central_differences(make):
    layer = built(make())
    y, tape = layer.forward(X)
    dy = RNG.normal(size=y.shape)
    dx, gradients = layer.backward(tape, dy)

    def loss():
        return np.sum(layer(X) * dy)

    for name, parameter in layer.parameters().items():
        assert_close(gradients.params[name], differences(loss, parameter), DIFFERENCES["float64"])
    x = X.copy()
    assert_close(dx, differences(lambda: np.sum(layer(x) * dy), x), DIFFERENCES["float64"])
    again = layer.backward(tape, dy, input_gradient=False, into=gradients)
    assert again[0] is None
    assert again[1] is gradients


def test_one_buffer_seen_from_all_sides():
    """What is written by the holder, by a held layer or by a view of either is used by all, from the next call on."""
    layer = built(Twice(2, dtype="float64"))
    inner = layer.first.gate
    assert np.shares_memory(layer.flat_parameters(), inner.flat_parameters())

    def total(module, key):
        return module._derived("sum", lambda p: float(p[key].sum()))

    for write in (
        lambda: layer.set_weights([w + 1 for w in layer.get_weights()]),
        lambda: inner.set_weights([w + 1 for w in inner.get_weights()]),
        lambda: layer.flat_parameters().__iadd__(1),
        lambda: inner.weights[0].__iadd__(1),
        lambda: layer.first.parameters()["gate_kernel"].__iadd__(1),
    ):
        sums = total(layer, "first_gate_kernel"), total(layer.first, "gate_kernel"), total(inner, "kernel")
        write()
        now = total(layer, "first_gate_kernel"), total(layer.first, "gate_kernel"), total(inner, "kernel")
        assert_close(np.subtract(now, sums), np.full(3, 6.0), 1e-12)
    view = inner.weights[0]  # while it is alive, nothing is kept
    for _ in range(2):
        before = total(layer, "first_gate_kernel")
        view += 1
        assert total(layer, "first_gate_kernel") == pytest.approx(before + 6)


def test_penalties_constraints_and_trainable():
    layer = built(Gated(2, penalty="l2", constraint="non_neg"))
    layer.set_weights([w - 1 for w in layer.get_weights()])
    assert layer.regularization_loss() == layer.value.regularization_loss() > 0
    _, gradients = layer.backward(layer.forward(X)[1], np.zeros((6, 2)))
    layer.add_regularization_gradient(gradients)
    assert_close(gradients.params["value_kernel"], 0.02 * layer.state_dict()["value_kernel"], 1e-6)
    layer.apply_constraints()
    assert (layer.gate.get_weights()[1] == 0).all()
    layer.trainable = False
    assert not layer.gate.trainable
    assert layer.regularization_loss() == 0
    layer.trainable = True
    layer.gate.trainable = False
    assert not layer.trainable


def model():
    made = Sequential([Input((3,)), Gated(4, penalty="l2"), Twice(4, seed=3)], seed=0)
    made.compile("adam", "mse")
    return made


@pytest.mark.parametrize("way", ["saved", "copied", "pickled", "cloned"])
def test_a_model_of_them_is_trained_saved_and_copied(way, tmp_path):
    """And goes on with the same bits, dropout included."""
    one = model()
    before = one.evaluate(X, X[:, :1], verbose=0)
    one.fit(X, X[:, :1], epochs=30, verbose=0)
    assert one.evaluate(X, X[:, :1], verbose=0) < before
    if way == "saved":
        one.save(tmp_path / "m")
        other = load_model(tmp_path / "m")
    elif way == "cloned":
        other = Sequential.from_config(one.get_config())
        other.set_weights(one.get_weights())
        other.compile("adam", "mse")
        assert other.predict(X, verbose=0).tobytes() == one.predict(X, verbose=0).tobytes()
        return
    else:
        other = copy.deepcopy(one) if way == "copied" else pickle.loads(pickle.dumps(one))
    assert not np.shares_memory(other.layers[0].flat_parameters(), one.layers[0].flat_parameters())
    assert other.predict(X, verbose=0).tobytes() == one.predict(X, verbose=0).tobytes()
    logs = [each.fit(X, X[:, :1], verbose=0, epochs=2).history for each in (one, other)]
    assert logs[0] == logs[1]
    assert [w.tobytes() for w in one.get_weights()] == [w.tobytes() for w in other.get_weights()]


def test_states_and_seeds_are_those_of_the_held_layers():
    x = RNG.normal(size=(2, 4, 5, 3)).astype("f4")
    layer = TimeDistributed(LSTM(3, stateful=True, dropout=0.5, seed=4))
    assert layer.stateful
    assert layer.generator is layer.layer.generator
    assert parameters.states(layer) is None
    first, second = layer(x), layer(x)
    assert not np.array_equal(first, second)
    again = copy.deepcopy(layer)
    np.testing.assert_array_equal(again(x), layer(x))
    layer.reset_states()
    np.testing.assert_array_equal(layer(x), first)


def test_a_holder_is_unbuilt_with_what_it_holds():
    layer = built(Gated(2))
    layer.unbuild()
    assert not layer.built
    assert not layer.gate.built
    layer.build((None, 5))
    assert layer.gate.get_weights()[0].shape == (5, 2)


def test_what_cannot_be_held():
    inner = Dense(2)
    built(TimeDistributed(inner).layer)
    TimeDistributed(inner).build((None, 4, 3))
    message_of(
        ValueError, lambda: TimeDistributed(inner).build((None, 4, 3)), f"Dense {inner.name!r} is held by another layer"
    )
    message_of(ValueError, lambda: Layer().hold(Dense(2, dtype="float64"), ""), "dtype is float32", "float64")
    holder = Layer()
    holder.hold(Dense(2), "a_")
    message_of(ValueError, lambda: holder.hold(Dense(2), "a_"), "the prefix 'a_' already")
    message_of(ValueError, lambda: built(Gated(2)).build((None, 4)), "was built for inputs of shape")
