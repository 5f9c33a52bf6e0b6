"""Layers that hold layers: their parameters are pieces of one buffer, and all that a layer can do follows."""

import copy
import pickle

import numpy as np
import pytest
from differences import differences
from messages import message_of
from tolerances import DIFFERENCES, assert_close

from nblstm import layers, nn
from nblstm.layers import LSTM, Dense, Dropout, Input, Layer, RepeatVector, TimeDistributed, register
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


class Shared(Layer):
    """``d(d(x))``: one held layer called twice, its second gradients added to the first."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.d = self.hold(Dense(3, "tanh", dtype=self.dtype), "d_")

    def _forward(self, x, training, mask, generator):
        h, first = self.d.forward(x)
        y, second = self.d.forward(h)
        return y, (first, second)

    def _backward(self, saved, dy, gradients, input_gradient):
        first, second = saved
        dh, _ = self.d.backward(second, dy, into=gradients[self.d])
        dx, more = self.d.backward(first, dh)
        gradients[self.d].flat += more.flat
        return dx


def test_one_held_layer_called_twice():
    layer = built(Shared(dtype="float64"))
    y, tape = layer.forward(X)
    dy = RNG.normal(size=y.shape)
    gradients = layer.backward(tape, dy)[1]
    for name, parameter in layer.parameters().items():
        assert_close(
            gradients.params[name], differences(lambda: np.sum(layer(X) * dy), parameter), DIFFERENCES["float64"]
        )

    class Overwriting(Shared):
        def _backward(self, saved, dy, gradients, input_gradient):
            for tape in reversed(saved):
                dy, _ = self.d.backward(tape, dy, into=gradients[self.d])
            return dy

    layer = built(Overwriting())
    y, tape = layer.forward(X)
    needed = "from an earlier call", "leave into out", "gradients[layer].flat += "
    message_of(ValueError, lambda: layer.backward(tape, y), layer.d._label, *needed)


def test_a_layer_is_held_once():
    def holder(*layers):
        made = Layer()
        for number, layer in enumerate(layers):
            made.hold(layer, f"l{number}_")
        return made

    dense, other = Dense(2, name="d"), Dense(2)
    needed = "Dense 'd' is held by ", "already; hold it once"
    message_of(ValueError, lambda: holder(dense, dense), *needed)
    message_of(ValueError, lambda: holder(dense, TimeDistributed(dense)), *needed)
    message_of(ValueError, lambda: holder(TimeDistributed(dense), dense), *needed)
    message_of(ValueError, lambda: holder(holder(dense), holder(other, dense)), *needed)
    inner = holder(dense)
    message_of(ValueError, lambda: inner.hold(inner, "self_"), "would hold itself")
    message_of(ValueError, lambda: inner.hold(holder(inner), "self_"), "would hold itself")
    made = built(holder(Dense(2)))
    message_of(RuntimeError, lambda: made.hold(Dense(2), "late_"), "is built", "in the constructor")


@pytest.mark.parametrize(
    ("given", "came"),
    [
        ("dense", "hold got 'dense'"),
        (Dense, "hold got the class Dense; give a layer, as Dense(...) makes one"),
        (Sequential([Dense(2)]), "hold got an object of Sequential"),
        (nn.LSTM(2, 3), "hold got an object of LSTM"),
        (None, "hold got an object of NoneType"),
    ],
)
def test_what_is_no_layer_cannot_be_held(given, came):
    message_of(TypeError, lambda: Layer().hold(given, "d_"), came, "give a layer")


def test_hold_behind_the_constructor_and_with_a_prefix():
    class Early(Layer):
        def __init__(self, **kwargs):
            self.d = self.hold(Dense(2), "d_")
            super().__init__(**kwargs)

    message_of(RuntimeError, Early, "Early calls hold before super().__init__()")
    message_of(TypeError, lambda: Layer().hold(Dense(2), 1), "prefix is 1 of type int; give a string")


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_what_forward_returned_is_checked(batch):
    class Alone(Layer):
        def _forward(self, x, training, mask, generator):
            return x

    class Scalar(Layer):
        def _forward(self, x, training, mask, generator):
            return x.sum(), x

    class Keras(Layer):
        def call(self, x):
            return x

    x = np.zeros((batch, 3), "f4")
    for call in (lambda layer: layer(x), lambda layer: layer.forward(x)):
        needed = f"Alone._forward returned an array of shape ({batch}, 3)", "two in a tuple"
        message_of(TypeError, lambda call=call: call(Alone()), *needed)
        message_of(TypeError, lambda call=call: call(Scalar()), "a tuple of 2 that begins with a float32")
        message_of(NotImplementedError, lambda call=call: call(Keras()), "no _forward beside call, which is Keras's")


def test_what_backward_returned_is_checked():
    class Wrong(Layer):
        def __init__(self, gives, **kwargs):
            super().__init__(**kwargs)
            self.gives = gives

        def _forward(self, x, training, mask, generator):
            return x, None

        def _backward(self, saved, dy, gradients, input_gradient):
            return self.gives(dy)

    def backward(gives, **options):
        layer = Wrong(gives)
        return layer.backward(layer.forward(X)[1], X, **options)[0]

    message_of(ValueError, lambda: backward(lambda dy: dy.sum(axis=0)), "Wrong._backward returned dx of shape (3,)")
    message_of(TypeError, lambda: backward(lambda dy: (dy, None)), "returned a tuple", "dx alone")
    assert backward(lambda dy: None) is None
    assert backward(lambda dy: dy[0], input_gradient=False) is None


class Chain(Layer):
    """``second(first(x))``, without a word on the shape between them."""

    def __init__(self, first, second, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = self.hold(first, "first_"), self.hold(second, "second_")

    def _forward(self, x, training, mask, generator):
        h, first = self.first.forward(x)
        y, second = self.second.forward(h)
        return y, (first, second)

    def _backward(self, saved, dy, gradients, input_gradient):
        first, second = saved
        dh, _ = self.second.backward(second, dy, into=gradients[self.second])
        return self.first.backward(first, dh, into=gradients[self.first])[0]


def test_a_chain_needs_the_shapes_between_its_layers():
    class Told(Chain):
        def _held_shape(self, layer, shape):
            return shape if layer is self.first else self.first.compute_output_shape(shape)

        def _output_shape(self, shape):
            return self.second.compute_output_shape(self.first.compute_output_shape(shape))

    remedy = "in Chain, which holds it, let _held_shape(layer, shape) return"
    message = message_of(ValueError, lambda: Chain(Dense(2), Dense(1))(X), "got x of shape (6, 2)", remedy)
    assert message.count("_held_shape") == 1
    nested = Chain(Chain(Dense(3), LSTM(2)), Dense(2))
    assert message_of(ValueError, lambda: nested(X), "LSTM", remedy).count("_held_shape") == 1
    assert Told(Dense(2), Dense(1))(X).shape == (6, 1)
    assert Told(Told(RepeatVector(4), LSTM(2)), Dense(1))(X).shape == (6, 1)
    message_of(ValueError, lambda: Chain(Dense(3), TimeDistributed(Dense(1)))(X), "3 dimensions or more", remedy)
    plain = TimeDistributed(Dense(2))
    plain.build((None, 4, 3))
    assert "_held_shape" not in message_of(ValueError, lambda: plain(np.zeros((2, 4, 5))), "it was built for")


def test_names_of_parameters_are_different():
    class Same(Chain):
        def _parameters_for(self, shape):
            return {"first_bias": layers.Parameter((1,), layers.initializers.Zeros())}

    needed = "Same 's' has two parameters 'first_bias', one of them Dense 'd'", "another prefix"
    message_of(ValueError, lambda: built(Same(Dense(2, name="d"), Dense(2), name="s")), *needed)


def test_gradients_that_go_elsewhere():
    class Dropped(Chain):
        def _backward(self, saved, dy, gradients, input_gradient):
            first, second = saved
            dh, _ = self.second.backward(second, dy, into=gradients[self.second])
            return self.first.backward(first, dh)[0]

    class Swapped(Chain):
        def _backward(self, saved, dy, gradients, input_gradient):
            return self.second.backward(saved[1], dy, into=gradients[self.first])[0]

    class Loose(Chain):
        def __init__(self, *layers, **kwargs):
            super().__init__(*layers, **kwargs)
            self.third = Dense(3, name="third")

        def _backward(self, saved, dy, gradients, input_gradient):
            return gradients[self.third if input_gradient else "fist_bias"]

    def backward(kind, **options):
        layer = kind(Dense(3, name="one"), Dense(3), name="c")
        layer.trainable = options.pop("trainable", True)
        return layer.backward(layer.forward(X)[1], X, **options)

    needed = "Dropped 'c' leaves the gradients of Dense 'one' at 0.*into=gradients"
    with pytest.warns(UserWarning, match=needed) as caught:
        backward(Dropped)
    assert caught[0].filename == __file__
    backward(Dropped, trainable=False)  # as it is meant to be
    message_of(ValueError, lambda: backward(Swapped), "into is another layer's, and came to Dense")
    message_of(ValueError, lambda: backward(Loose), "Loose 'c' does not hold Dense 'third'", "self.hold(layer, prefix)")
    message_of(ValueError, lambda: backward(Loose, input_gradient=False), "did you mean 'first_bias'")
