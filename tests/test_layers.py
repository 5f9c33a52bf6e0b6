"""Layers: how they are built, what they keep, and layers within layers."""

import threading

import numpy as np
import pytest
from tolerances import DTYPES, OUTPUT, assert_close

from nblstm.layers import (
    Activation,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    Input,
    Layer,
    LayerNormalization,
    MaxPooling2D,
    TimeDistributed,
    constraints,
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
