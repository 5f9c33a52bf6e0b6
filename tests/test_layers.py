"""Layers: what is made, kept, drawn and saved."""

import json
import threading

import numpy as np
import pytest
from tolerances import DTYPES, OUTPUT, assert_close

from nblstm import layers
from nblstm.layers import (
    Activation,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    Input,
    Layer,
    LayerNormalization,
    Masking,
    MaxPooling2D,
    TimeDistributed,
    activations,
    constraints,
    initializers,
    regularizers,
)  # fmt: skip

RNG = np.random.default_rng(0)


# --- building ---------------------------------------------------------------------------------------


def test_the_first_call_builds():
    layer = Dense(3, input_shape=(None, 4))
    assert (layer.built, layer.input_shape, layer.output_shape) == (False, None, None)
    assert layer.batch_input_shape == (None, None, 4)
    assert layer.get_weights() == []
    layer(np.ones((2, 5, 4)))
    assert (layer.built, layer.input_shape, layer.output_shape) == (True, (None, 5, 4), (None, 5, 3))
    layer.build((None, 7, 4))
    assert layer.output_shape == (None, 7, 3)
    assert repr(layer) == f"<Dense {layer.name}: (None, 7, 4) -> (None, 7, 3)>"


def test_ways_to_say_the_shape():
    for layer in (Dense(2, input_dim=4), Dense(2, input_shape=4), Dense(2, input_shape=[4])):
        assert layer.batch_input_shape == (None, 4)
    assert Dense(2, batch_input_shape=(3, 4)).batch_input_shape == (3, 4)
    assert Embedding(5, 2, input_length=10).batch_input_shape == (None, 10)
    assert Embedding(5, 2).batch_input_shape is None
    assert Input((3, 4), batch_size=8).batch_shape == (8, 3, 4)
    assert Input(batch_shape=(None, 4)).batch_input_shape == (None, 4)


def test_names_count_up():
    class Recorder(Layer):
        pass

    assert [Recorder().name for _ in range(3)] == ["recorder", "recorder_1", "recorder_2"]
    assert MaxPooling2D().name.startswith("max_pooling2d")
    assert Dense(1, name="out").name == "out"


def test_initial_values_follow_the_generator():
    first, again, other = Dense(3), Dense(3), Dense(3)
    first.build((None, 4), np.random.default_rng(1))
    again.build((None, 4), np.random.default_rng(1))
    other.build((None, 4), np.random.default_rng(2))
    assert np.array_equal(first.get_weights()[0], again.get_weights()[0])
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


def test_parameters_lie_in_one_buffer():
    layer = Conv2D(3, 2)
    layer.build((None, 5, 5, 2))
    assert list(layer.parameters()) == ["kernel", "bias"]
    flat = layer.flat_parameters()
    assert flat.size == layer.count_params() == 2 * 2 * 2 * 3 + 3
    flat[...] = 2.0
    assert all((w == 2).all() for w in layer.get_weights())
    assert layer(np.ones((1, 2, 2, 2))).ravel().tolist() == [18.0] * 3
    layer.weights[1][...] = 0.0
    assert layer(np.ones((1, 2, 2, 2))).ravel().tolist() == [16.0] * 3


def test_get_weights_copies_and_set_weights_too():
    layer = Dense(2)
    layer.build((None, 2))
    values = [np.arange(4.0).reshape(2, 2), np.ones(2)]
    layer.set_weights(values)
    values[0][...] = 9
    layer.get_weights()[0][...] = 9
    assert layer.get_weights()[0].tolist() == [[0, 1], [2, 3]]


def test_threads_that_build_at_once_see_one_set_of_parameters():
    layer, x, results = Dense(50), np.ones((1, 300)), []
    gate = threading.Barrier(8)

    def first_call():
        gate.wait()
        results.append(layer(x))

    threads = [threading.Thread(target=first_call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(np.array_equal(y, layer(x)) for y in results)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout_and_dtype_of_data(dtype):
    layer, x = Dense(3, dtype=dtype), RNG.integers(-3, 3, (4, 5, 6))
    y = layer(x)
    assert y.dtype == dtype
    for same in (x.tolist(), np.asfortranarray(x), x.astype(">f8"), x.astype("float32"), x[:, ::-1][:, ::-1]):
        assert_close(layer(same), y, OUTPUT[dtype])


def test_a_batch_may_be_empty():
    for layer, shape in (
        (Dense(3), (0, 4)), (Conv2D(2, 2), (0, 3, 3, 1)), (MaxPooling2D(), (0, 4, 4, 1)), (Flatten(), (0, 4, 4)),
        (LayerNormalization(), (0, 4)), (GlobalAveragePooling1D(), (0, 4, 2)), (Embedding(3, 2), (0, 4)),
        (TimeDistributed(Dense(3)), (0, 4, 2)), (Activation("softmax"), (0, 4)),
    ):  # fmt: skip
        y, tape = layer.forward(np.zeros(shape))
        layer.backward(tape, y)
        assert y.shape == layer.compute_output_shape(shape)


# --- regularizers, constraints ----------------------------------------------------------------------


def test_penalty_of_a_layer():
    layer = Dense(2, kernel_regularizer=regularizers.l2(0.5), bias_regularizer=regularizers.l1(2.0))
    assert layer.regularization_loss() == 0
    layer.build((None, 2))
    layer.set_weights([np.full((2, 2), 3.0), np.array([1.0, -1.0])])
    assert layer.regularization_loss() == pytest.approx(0.5 * 4 * 9 + 2 * 2)


def test_constraints_of_a_layer():
    layer = Dense(2, kernel_constraint="non_neg", bias_constraint=constraints.max_norm(1.0))
    layer.build((None, 2))
    layer.set_weights([np.array([[1.0, -1.0], [-2.0, 2.0]]), np.array([3.0, 4.0])])
    layer.apply_constraints()
    kernel, bias = layer.get_weights()
    assert kernel.tolist() == [[1, 0], [0, 2]]
    assert_close(bias, [0.6, 0.8], OUTPUT["float32"])


def test_what_derives_from_parameters_is_made_anew_after_a_projection():
    layer = Dense(2, bias_constraint="non_neg")
    layer.build((None, 2))
    layer.set_weights([np.ones((2, 2)), np.array([-1.0, 1.0])])
    total = [layer._derived("sum", lambda p: float(p["bias"].sum()))]
    layer.apply_constraints()
    total.append(layer._derived("sum", lambda p: float(p["bias"].sum())))
    assert total == [0.0, 1.0]


# --- randomness ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout(dtype):
    layer, x = Dropout(0.25, dtype=dtype), np.ones((200, 100))
    assert np.array_equal(layer(x), x)
    y, _ = layer.forward(x, training=True, generator=np.random.default_rng(0))
    assert y.dtype == dtype
    assert np.unique(y).tolist() == [0, np.dtype(dtype).type(1 / 0.75)]
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    again, _ = layer.forward(x, training=True, generator=np.random.default_rng(0))
    other, _ = layer.forward(x, training=True)
    assert np.array_equal(y, again)
    assert not np.array_equal(y, other)


def test_dropout_with_a_seed_is_its_own_and_goes_on():
    first, second, x = Dropout(0.5, seed=1), Dropout(0.5, seed=1), np.ones((5, 6))
    assert first.generator is not None
    a, b = (first.forward(x, training=True)[0] for _ in range(2))
    state = first.generator.bit_generator.state
    c = first.forward(x, training=True)[0]
    assert np.array_equal(a, second.forward(x, training=True, generator=np.random.default_rng(9))[0])
    assert not np.array_equal(a, b)
    first.generator.bit_generator.state = state
    assert np.array_equal(c, first.forward(x, training=True)[0])


def test_dropout_of_whole_features():
    y, _ = Dropout(0.5, noise_shape=(None, 1, None), seed=0).forward(np.ones((4, 5, 6)), training=True)
    assert (y == y[:, :1]).all()
    assert 0 < (y == 0).mean() < 1


def test_steps_drop_independently():
    layer = TimeDistributed(Dropout(0.5, seed=0))
    y, _ = layer.forward(np.ones((2, 50, 3)), training=True)
    assert (y != y[:, :1]).any()
    assert layer.generator is layer.layer.generator


@pytest.mark.parametrize(
    ("name", "deviation", "bound"),
    [
        ("glorot_uniform", np.sqrt(2 / 500), np.sqrt(6 / 500)),
        ("glorot_normal", np.sqrt(2 / 500), 2.28 * np.sqrt(2 / 500)),
        ("he_uniform", np.sqrt(2 / 200), np.sqrt(6 / 200)),
        ("he_normal", np.sqrt(2 / 200), 2.28 * np.sqrt(2 / 200)),
        ("lecun_uniform", np.sqrt(1 / 200), np.sqrt(3 / 200)),
        ("lecun_normal", np.sqrt(1 / 200), 2.28 * np.sqrt(1 / 200)),
        ("random_uniform", 0.1 / np.sqrt(12), 0.05), ("random_normal", 0.05, 1.0), ("truncated_normal", 0.044, 0.1),
    ],
)  # fmt: skip
def test_distributions(name, deviation, bound):
    values = initializers.get(name)((200, 300), "float64", np.random.default_rng(0))
    assert values.std() == pytest.approx(deviation, rel=0.02)
    assert abs(values.mean()) < 0.02 * deviation
    assert 0.9 * min(bound, 4 * deviation) < np.abs(values).max() <= bound


def test_fans_of_a_convolution():
    values = initializers.he_uniform(seed=0)((5, 5, 8, 200))
    assert np.abs(values).max() == pytest.approx(np.sqrt(6 / (5 * 5 * 8)), rel=0.01)
    assert [initializers.fans(shape) for shape in ((), (3,), (3, 4), (2, 3, 4))] == [(1, 1), (3, 3), (3, 4), (6, 8)]


@pytest.mark.parametrize("shape", [(5, 5), (8, 3), (3, 8), (2, 3, 4), (2, 2, 9)])
def test_orthogonal(shape):
    q = 0.5 * initializers.orthogonal(gain=2.0, seed=3)(shape, "float64").reshape(-1, shape[-1])
    small = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    assert_close(small, np.eye(len(small)), OUTPUT["float64"])


def test_seeds_of_initializers():
    seeded = initializers.GlorotUniform(seed=4)
    assert np.array_equal(seeded((3, 3)), seeded((3, 3)))
    free = initializers.GlorotUniform()
    assert not np.array_equal(free((3, 3)), free((3, 3)))


def test_simple_and_own_initializers():
    assert initializers.constant(3.0)((2,)).tolist() == [3, 3]
    assert initializers.get("identity")((2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert initializers.get(lambda shape, dtype=None: np.full(shape, 5, dtype))((2,)).tolist() == [5, 5]
    assert initializers.get(initializers.Ones)((2,)).tolist() == [1, 1]
    values = np.arange(6).reshape(2, 3)
    layer = Dense(3, kernel_initializer=values)
    layer.build((None, 2))
    assert np.array_equal(layer.get_weights()[0], values)


# --- masks --------------------------------------------------------------------------------------------


def test_masks_of_layers():
    x, mask = np.array([[[1.0, 0.0], [0.0, 0.0]]]), np.array([[False, True]])
    assert Masking().compute_mask(x).tolist() == [[True, False]]
    assert Masking().compute_mask(x, mask).tolist() == [[True, False]]
    assert Embedding(5, 2, mask_zero=True).compute_mask([[3, 0]]).tolist() == [[True, False]]
    assert Embedding(5, 2).compute_mask([[3, 0]]) is None
    for layer in (Dense(2), Dropout(0.5), LayerNormalization(), TimeDistributed(Dense(2)), Input((2, 2))):
        assert layer.compute_mask(x, mask) is mask
    assert GlobalAveragePooling1D().compute_mask(x, mask) is None


def test_masked_steps_may_hold_anything():
    x, mask = np.ones((2, 3, 1)), np.array([[1, 1, 0], [0, 0, 0]])
    x[~mask.astype(bool)] = np.nan
    layer = GlobalAveragePooling1D()
    y, tape = layer.forward(x, mask=mask)
    assert y.tolist() == [[1.0], [0.0]]
    assert layer.backward(tape, np.ones_like(y))[0][..., 0].tolist() == [[0.5, 0.5, 0], [0, 0, 0]]


# --- equations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [1, 2, [1, 3], (-1, 2), [3, 1, 2]])
def test_layer_normalization_over_any_axes(axis):
    x = RNG.normal(3, 2, (2, 3, 4, 5))
    layer = LayerNormalization(axis, epsilon=0.1, gamma_initializer="random_normal", dtype="float64")
    y = layer(x)
    gamma = layer.get_weights()[0]
    axes = tuple(sorted(a % 4 for a in np.atleast_1d(axis)))
    assert gamma.shape == tuple(x.shape[a] for a in axes)
    for k in np.ndindex(*[1 if a in axes else n for a, n in enumerate(x.shape)]):
        part = tuple(slice(None) if a in axes else i for a, i in enumerate(k))
        expected = (x[part] - x[part].mean()) / np.sqrt(x[part].var() + 0.1) * gamma
        assert_close(y[part], expected, OUTPUT["float64"])


def test_convolution_is_the_sum_of_its_definition():
    x, layer = RNG.normal(size=(1, 5, 6, 2)), Conv2D(3, (2, 3), strides=(2, 1), dtype="float64")
    y, (kernel, bias) = layer(x), layer.get_weights()
    for i, j, f in np.ndindex(2, 4, 3):
        window = x[0, 2 * i : 2 * i + 2, j : j + 3]
        assert y[0, i, j, f] == pytest.approx(np.sum(window * kernel[..., f]) + bias[f])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", activations.FUNCTIONS)
def test_activations_far_out_are_finite(name, dtype):
    function, x = activations.get(name), np.array([[-80.0, -30.0, -1e-3, 0.0, 1e-3, 30.0, 80.0]], dtype)
    y, kept = function.forward(x)
    dx = function.backward(kept, np.ones_like(x))
    assert y.dtype == dx.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    assert np.array_equal(function(x), y)


def test_softmax_does_not_overflow():
    y = activations.softmax(np.array([[1e4, 0.0, -1e4]], "float32"))
    assert y.tolist() == [[1, 0, 0]]
    assert activations.log_softmax(np.array([[1e4, 0.0]], "float32")).tolist() == [[0, -1e4]]
    assert activations.sigmoid(np.array([-100.0]))[0] == pytest.approx(np.exp(-100))


def test_an_activation_of_your_own():
    sine = activations.ActivationFunction("sine", np.sin, lambda x, dy: dy * np.cos(x), "input")
    layer = Dense(3, sine, dtype="float64")
    y, tape = layer.forward(np.ones((2, 4)))
    assert_close(y, np.sin(np.ones((2, 4)) @ layer.get_weights()[0]), OUTPUT["float64"])
    assert layer.backward(tape, y)[0].shape == (2, 4)


def test_embedding_gradient_of_repeated_words():
    layer = Embedding(4, 2, weights=np.arange(8.0).reshape(4, 2))
    y, tape = layer.forward([[3, 3, 0]])
    assert y.tolist() == [[[6, 7], [6, 7], [0, 1]]]
    assert layer(np.array([3.0], "float32")).tolist() == [[6, 7]]
    dx, gradients = layer.backward(tape, np.ones_like(y))
    assert dx is None
    assert gradients.params["embeddings"].tolist() == [[1, 1], [0, 0], [0, 0], [2, 2]]


def test_input_layers_pass_data_on():
    x = RNG.normal(size=(2, 3))
    assert Input((3,))(x) is x
    assert Input((3,), dtype="float32")(x).dtype == "float32"
    words, tape = Input((None,), dtype="int32").forward(np.array([[1.0, 2.0]]))
    assert words.dtype == "int32"
    assert tape.layer.backward(tape, np.ones((1, 2))) == (None, None)


# --- wrapped layers ------------------------------------------------------------------------------------


def test_time_distributed_shares_the_parameters_of_the_layer_within():
    inner = Dense(3, kernel_regularizer="l2", kernel_constraint="non_neg")
    layer = TimeDistributed(inner)
    layer.build((None, 5, 4))
    assert layer.count_params() == inner.count_params() == 15
    layer.flat_parameters()[...] = -1
    assert all((w == -1).all() for w in inner.get_weights())
    assert layer.regularization_loss() == inner.regularization_loss() > 0
    layer.apply_constraints()
    assert (inner.get_weights()[0] == 0).all()
    layer.set_weights([np.ones((4, 3)), np.zeros(3)])
    assert (inner(np.ones((1, 4))) == 4).all()
    layer.trainable = False
    assert not inner.trainable
    assert not TimeDistributed(inner).trainable


def test_time_distributed_tells_the_layer_within_that_its_parameters_are_lent():
    inner = Dense(2)
    layer = TimeDistributed(inner)
    layer.build((None, 5, 2))
    before = inner._derived("sum", lambda p: float(p["kernel"].sum()))
    flat = layer.flat_parameters()
    flat += 1
    assert inner._derived("sum", lambda p: float(p["kernel"].sum())) == pytest.approx(before + 4, abs=1e-5)


def test_time_distributed_is_the_layer_at_each_step():
    inner = Conv2D(2, 3, dtype="float64")
    x = RNG.normal(size=(2, 4, 5, 5, 1))
    y = TimeDistributed(inner)(x)
    for t in range(4):
        assert_close(y[:, t], inner(x[:, t]), OUTPUT["float64"])


# --- configs -------------------------------------------------------------------------------------------

SAVED = [
    Dense(3, "relu", False, "he_normal", kernel_regularizer=regularizers.l1_l2(0.1, 0.2), trainable=False),
    Dense(3, kernel_constraint=constraints.max_norm(3, axis=[0, 1]), input_shape=(None, 4), dtype="float64"),
    Activation("swish"),
    Conv2D(3, (2, 3), padding="same", dilation_rate=2, kernel_initializer=initializers.he_uniform(seed=np.int64(3))),
    MaxPooling2D((2, 3), 1),
    GlobalAveragePooling1D(keepdims=True),
    Dropout(0.3, noise_shape=(None, 1), seed=4),
    Embedding(5, 3, mask_zero=True, input_length=4, embeddings_regularizer="l2"),
    Embedding(5, 3, weights=np.ones((5, 3)), batch_input_shape=(2, 4)),
    LayerNormalization([1, 2], scale=False),
    Masking(-1),
    Flatten(),
    layers.Reshape((-1, 2)),
    layers.RepeatVector(3),
    layers.Conv1D(2, 3, 2, "causal"),
    layers.MaxPooling1D(),
    Input((3, None), batch_size=2, dtype="int32", name="words"),
    TimeDistributed(TimeDistributed(Dense(3, dtype="float64")), input_shape=(None, 2, 3)),
]


@pytest.mark.parametrize("layer", SAVED, ids=lambda layer: type(layer).__name__)
def test_a_config_makes_the_layer_again(layer):
    record = layers.serialize(layer)
    text = json.dumps(record, allow_nan=False)
    assert json.loads(text) == record  # no tuples, no NumPy numbers
    again = layers.deserialize(json.loads(text))
    assert type(again) is type(layer)
    assert layers.serialize(again) == record
    assert (again.name, again.dtype, again.trainable) == (layer.name, layer.dtype, layer.trainable)
    assert again.batch_input_shape == layer.batch_input_shape
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_a_layer_of_your_own():
    @layers.register()
    class Scale(Layer):
        def __init__(self, start=1.0, **kwargs):
            super().__init__(**kwargs)
            self.start = start

        def _parameters_for(self, shape):
            return {"scale": layers.Parameter((shape[-1],), initializers.constant(self.start))}

        def _forward(self, x, training, mask, generator):
            return x * self._own["scale"], x

        def _backward(self, saved, dy, gradients, input_gradient):
            gradients["scale"][...] = (dy * saved).sum(axis=0)
            return dy * self._own["scale"]

    layer = layers.deserialize(layers.serialize(Scale(2.0, name="mine")))
    y, tape = layer.forward(np.ones((3, 2)))
    dx, gradients = layer.backward(tape, np.ones_like(y))
    assert y.tolist() == dx.tolist() == [[2, 2]] * 3
    assert gradients.params["scale"].tolist() == [3, 3]
