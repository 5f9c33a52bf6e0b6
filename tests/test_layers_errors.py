"""Layers: bad arguments, shapes and data get the right exception, in one sentence, before anything changes."""

import numpy as np
import pytest
from messages import message_of

from nblstm import layers
from nblstm.layers import (
    Activation,
    Conv1D,
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
    MaxPooling1D,
    MaxPooling2D,
    RepeatVector,
    Reshape,
    TimeDistributed,
)  # fmt: skip

# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda n: Dense(n), "units"), (lambda n: Embedding(n, 2), "input_dim"),
        (lambda n: Embedding(2, n), "output_dim"),
        (lambda n: Conv1D(n, 2), "filters"), (lambda n: Conv2D(2, n), "kernel_size"), (lambda n: RepeatVector(n), "n"),
        (lambda n: Conv2D(2, 2, strides=n), "strides"), (lambda n: MaxPooling2D(n), "pool_size"),
        (lambda n: Conv2D(2, 2, dilation_rate=n), "dilation_rate"), (lambda n: Dense(2, input_dim=n), "input_dim"),
        (lambda n: Embedding(2, 2, input_length=n), "input_length"),
        (lambda n: Input((2,), batch_size=n), "batch_size"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), ("3", TypeError)])
def test_sizes(make, name, value, error):
    message_of(error, lambda: make(value), f"{name} is {value!r}", "give a whole number, 1 or more")


@pytest.mark.parametrize(
    ("error", "call", "needed"),
    [
        (TypeError, lambda: Dense(3, rate=2), ("Dense got the unknown argument 'rate'", "units", "batch_input_shape")),
        (TypeError, lambda: TimeDistributed(Dense(3), spam=2), ("unknown argument 'spam'", "layer")),
        (ValueError, lambda: Dense(3, "relux"), ("no activation named 'relux'", "relu", "softmax")),
        (TypeError, lambda: Dense(3, np.tanh), ("give a name or an ActivationFunction",)),
        (ValueError, lambda: Dense(3, kernel_initializer="glorot"), ("no initializer named 'glorot'", "he_normal")),
        (TypeError, lambda: Dense(3, kernel_initializer=0.5), ("0.5 is no initializer",)),
        (ValueError, lambda: Dense(3, kernel_regularizer="l3"), ("no regularizer named 'l3'", "l1_l2")),
        (TypeError, lambda: Dense(3, kernel_regularizer=np.sum), ("has no gradient(w)",)),
        (ValueError, lambda: Dense(3, bias_constraint="maxnorm"), ("no constraint named 'maxnorm'", "max_norm")),
        (ValueError, lambda: Dense(3, activity_regularizer="l2"), ("activity_regularizer is 'l2'", "leave it at None")),
        (ValueError, lambda: Conv1D(2, 2, groups=2), ("groups is 2", "leave it at 1")),
        (ValueError, lambda: Conv2D(2, 2, data_format="channels_first"), ("'channels_first'", "'channels_last'")),
        (ValueError, lambda: Conv2D(2, 2, padding="causal"), ("padding is 'causal'", "valid, same")),
        (ValueError, lambda: MaxPooling1D(padding="full"), ("padding is 'full'", "valid, same")),
        (ValueError, lambda: Conv2D(2, (2, 2, 2)), ("kernel_size has 3 numbers", "give 2")),
        (ValueError, lambda: Conv2D(2, 2, 2, dilation_rate=2), ("leave one of them at 1",)),
        (ValueError, lambda: Dropout(1.0), ("rate is 1.0", "below 1")),
        (TypeError, lambda: Dropout("half"), ("rate is 'half'",)),
        (ValueError, lambda: Dropout(0.5, seed=-1), ("seed is -1",)),
        (ValueError, lambda: layers.initializers.GlorotUniform(seed=1.5), ("seed is 1.5",)),
        (ValueError, lambda: layers.initializers.VarianceScaling(mode="fan"), ("mode is 'fan' (did you", "fan_avg")),
        (ValueError, lambda: layers.regularizers.l2(-1), ("l2 is -1", "0 or more")),
        (ValueError, lambda: layers.constraints.max_norm(np.nan), ("max_value is nan",)),
        (TypeError, lambda: layers.constraints.unit_norm(axis=0.5), ("axis is 0.5",)),
        (
            ValueError, lambda: Dense(3, kernel_constraint=layers.constraints.max_norm(axis=2)).build((None, 4)),
            ("axis is 2 and the parameter has shape (4, 3); give one of its 2 dimensions",),
        ),
        (
            ValueError, lambda: Dense(3, bias_constraint=lambda w: w[:1]).build((None, 4)),
            ("what the constraint of 'bias' gives has shape (1,); it needs shape (3,)",),
        ),
        (TypeError, lambda: LayerNormalization(axis="last"), ("axis is 'last'",)),
        (ValueError, lambda: LayerNormalization(epsilon=-1), ("epsilon is -1",)),
        (TypeError, lambda: Masking("0"), ("mask_value is '0'",)),
        (TypeError, lambda: TimeDistributed(np.tanh), ("give a layer",)),
        (ValueError, lambda: TimeDistributed(Dense(2), dtype="float64"), ("dtype is float64", "float32")),
        (ValueError, lambda: Reshape((-1, -1)), ("one of which may be -1",)),
        (TypeError, lambda: Reshape((2.0,)), ("whole numbers",)),
        (ValueError, lambda: Dense(2, dtype="float16"), ("dtype is float16", "float32 or float64")),
        (TypeError, lambda: Dense(2, name=3), ("name is 3",)),
        (ValueError, lambda: Dense(2, input_shape=(-1,)), ("input_shape is (-1,)",)),
        (TypeError, lambda: Dense(2, input_shape="10"), ("input_shape is '10'", "give a tuple")),
        (ValueError, lambda: Dense(2, input_dim=3, input_shape=(3,)), ("shape twice",)),
        (ValueError, lambda: Embedding(2, 2, input_length=3, input_shape=(4,)), ("input_length is 3", "give one")),
        (ValueError, lambda: Input(), ("an Input got no shape; give shape=(T, I)",)),
        (ValueError, lambda: Input((2,), batch_shape=(None, 2)), ("got shape and batch_shape; give shape=(T, I)",)),
        (ValueError, lambda: Input((2,), dtype="str"), ("dtype is str", "float32")),
        (ValueError, lambda: Input((2,), dtype=3), ("dtype is 3",)),
    ],
)  # fmt: skip
def test_arguments(error, call, needed):
    message_of(error, call, *needed)


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "needed"),
    [
        (Dense(3), (None,), ("got shape (None,)", "2 dimensions or more")),
        (Dense(3), (None, None), ("dimension -1", "give a size")),
        (Dense(3), (), ("begins with the batch",)),
        (Conv1D(2, 3), (None, 4), ("needs 3 dimensions",)),
        (Conv2D(2, 3), (None, 4, 4), ("needs 4 dimensions",)),
        (Conv2D(2, 3), (None, 4, 4, None), ("dimension -1",)),
        (Conv2D(2, 3), (None, 2, 4, 1), ("no window of (3, 3) fits", "padding='same'")),
        (Conv1D(2, 3, dilation_rate=2), (None, 4, 1), ("no window of (5,) fits",)),
        (MaxPooling2D(3), (None, 4, 2, 1), ("no window of (3, 3) fits",)),
        (GlobalAveragePooling1D(), (None, 4), ("needs 3 dimensions",)),
        (GlobalAveragePooling1D(), (None, 0, 4), ("give 1 step or more",)),
        (RepeatVector(2), (None, 4, 2), ("needs 2 dimensions",)),
        (Reshape((4, 2)), (None, 9), ("9 entries", "(4, 2) needs 8")),
        (Reshape((4, -1)), (None, 9), ("9 entries", "4 times a whole number")),
        (LayerNormalization(axis=3), (None, 4, 2), ("axis 3", "1 to 2")),
        (LayerNormalization(axis=0), (None, 4, 2), ("axis 0",)),
        (LayerNormalization(axis=[1, -2]), (None, 4, 2), ("different ones",)),
        (LayerNormalization(axis=1), (None, None, 2), ("dimension 1",)),
        (TimeDistributed(Dense(2)), (None, 3), ("3 dimensions or more",)),
        (TimeDistributed(Conv2D(2, 3)), (None, 3, 4, 4), ("Conv2D", "needs 4 dimensions")),
        (Masking(), (None,), ("2 dimensions or more",)),
        (Flatten(), (None, 2.5), ("whole number",)),
    ],
)
def test_shapes_to_build_for(layer, shape, needed):
    message_of(ValueError, lambda: layer.build(shape), *needed)
    assert not layer.built


def test_another_shape_than_that_built_for():
    layer = Dense(3)
    layer.build((None, 4))
    before = layer.get_weights()
    message_of(ValueError, lambda: layer(np.ones((2, 5))), "(2, 5)", "(None, 4)", "give 4 in dimension -1")
    message_of(ValueError, lambda: layer.build((None, 5)), "was built for inputs of shape (None, 4)", "another layer")
    assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights(), strict=True))
    message_of(ValueError, lambda: Input((3, None))(np.ones((2, 4, 5))), "give 3 in dimension 1")


def test_initial_values_of_another_shape():
    layer = Dense(3, kernel_initializer=np.ones((2, 3)))
    message_of(ValueError, lambda: layer.build((None, 4)), "initial 'kernel' has shape (2, 3)", "(4, 3)")
    assert not layer.built
    message_of(ValueError, lambda: Dense(3, bias_initializer="orthogonal").build((None, 4)), "2 dimensions or more")


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([[object()]]), np.ones((2, 2)) * 1j])
def test_data_that_is_not_real(value):
    message_of(TypeError, lambda: Dense(2)(value), f"x has dtype {value.dtype}")
    message_of(TypeError, lambda: Embedding(2, 2)(value), f"x has dtype {value.dtype}")
    message_of(TypeError, lambda: Input((2,))(value), f"x has dtype {value.dtype}")


@pytest.mark.parametrize(
    ("x", "found"), [([7], "7"), ([[1, -1]], "-1"), ([0.5], "0.5"), ([np.nan], "nan"), ([1e30], "1e+30")]
)
def test_words_outside_the_vocabulary(x, found):
    message_of(ValueError, lambda: Embedding(7, 2)(x), f"x contains {found}", "input_dim 7", "from 0 to 6")


def test_data_that_an_integer_cannot_hold():
    message_of(ValueError, lambda: Input((1,), dtype="int32")([[0.5]]), "int32 cannot hold")


def test_masks():
    layer, x = GlobalAveragePooling1D(), np.ones((2, 3, 4))
    message_of(TypeError, lambda: layer(x, np.ones((2, 3))), "mask has dtype float64", "give bools")
    message_of(ValueError, lambda: layer(x, np.ones((2, 4), bool)), "mask has shape (2, 4)", "(2, 3, 4)", "(B, T)")
    message_of(ValueError, lambda: layer(x, np.ones(2, bool)), "mask has shape (2,)")


def test_tapes_and_output_gradients():
    layer, other = Dense(3), Dense(3)
    y, tape = layer.forward(np.ones((2, 4)))
    message_of(ValueError, lambda: other.backward(tape, y), "tape is not from the forward() of Dense")
    message_of(ValueError, lambda: layer.backward(None, y), "tape is not")
    message_of(ValueError, lambda: layer.backward(tape, y.T), "dy has shape (3, 2)", "(2, 3)")
    message_of(TypeError, lambda: layer.backward(tape, y * 1j), "dy has dtype complex")


def test_noise_that_does_not_fit():
    layer = Dropout(0.5, noise_shape=(None, 2))
    message_of(ValueError, lambda: layer.forward(np.ones((3, 4)), training=True), "noise_shape is (None, 2)", "(3, 4)")


def test_weights():
    layer = Dense(3, name="last")
    message_of(ValueError, layer.count_params, "Dense 'last' is not built", "call build(input_shape)")
    message_of(ValueError, lambda: layer.set_weights([]), "Dense 'last' is not built")
    layer.build((None, 2))
    before = layer.get_weights()
    message_of(ValueError, lambda: layer.set_weights([np.ones((2, 3))]), "got 1 arrays", "list of 2: kernel, bias")
    message_of(ValueError, lambda: layer.set_weights([np.ones((3, 2)), np.ones(3)]), "'kernel' has shape (3, 2)")
    message_of(ValueError, lambda: layer.set_weights(None), "got NoneType")
    assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights(), strict=True))


# --- saved layers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "record", "needed"),
    [
        (ValueError, {"class_name": "os.system", "config": {}}, "no layer named 'os.system'"),
        (ValueError, {"class_name": "Dense"}, None),
        (ValueError, {"config": {}}, "needs 'class_name' and 'config'"),
        (ValueError, {"class_name": "Dense", "config": [3]}, "needs 'class_name' and 'config'"),
        (TypeError, {"class_name": "Dense", "config": {"units": 3, "spam": 1}}, "unknown argument 'spam'"),
        (ValueError, {"class_name": "Dense", "config": {"units": -3}}, "units is -3"),
        (TypeError, 3, "3 is no layer"),
        (ValueError, {"class_name": "TimeDistributed", "config": {"layer": {"class_name": "eval"}}}, "no layer named"),
    ],
)
def test_damaged_records(error, record, needed):
    if needed is None:  # Python's own message names what is missing
        error, needed = TypeError, "units"
    with pytest.raises(error, match=needed.replace("(", "\\(")):
        layers.deserialize(record)


def test_what_cannot_be_saved():
    own = layers.activations.ActivationFunction("my own", np.sin, lambda x, dy: dy * np.cos(x), "input")
    message_of(TypeError, Dense(2, own).get_config, "'my own' is your own and cannot be saved")
    message_of(
        TypeError, Dense(2, kernel_constraint=lambda w: w).get_config, "kernel_constraint is <lambda>, which cannot"
    )
    message_of(TypeError, Dense(2, kernel_initializer=np.ones((2, 2))).get_config, "cannot be saved")
    message_of(TypeError, Dense(2, kernel_constraint=np.abs).get_config, "kernel_constraint", "cannot be saved")


def test_a_layer_is_no_data():
    message_of(TypeError, lambda: Dense(2, name="d")(Input((3,), name="i")), "Dense 'd' got the layer 'i', and no data")


def test_names_are_registered_once():
    with pytest.raises(ValueError, match="'Dense' is registered already"):

        @layers.register()
        class Dense(Layer):
            pass


def test_a_layer_without_equations():
    message_of(NotImplementedError, lambda: Layer()(np.ones((2, 3))), "Layer has no _forward")


def test_a_mask_that_is_lost_is_warned_of():
    with pytest.warns(UserWarning, match="Flatten 'flat' does not pass on the mask"):
        assert Flatten(name="flat").compute_mask(None, np.ones((2, 3), bool)) is None
    assert Activation("relu").compute_mask(None, "as it is") == "as it is"
