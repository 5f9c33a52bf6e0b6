"""Gradients of every layer, inputs and parameters, against central differences in float64; masks included."""

import numpy as np
import pytest
from differences import differences
from tolerances import DIFFERENCES, assert_close

from nblstm import layers
from nblstm.layers import (
    ELU,
    GRU,
    LSTM,
    Activation,
    AveragePooling1D,
    AveragePooling2D,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Conv2D,
    Cropping1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    LayerNormalization,
    LeakyReLU,
    Masking,
    MaxPooling1D,
    MaxPooling2D,
    Normalization,
    Permute,
    PReLU,
    ReLU,
    RepeatVector,
    Reshape,
    Softmax,
    SpatialDropout1D,
    TimeDistributed,
    UpSampling1D,
    ZeroPadding1D,
    activations,
)  # fmt: skip

D = {"dtype": "float64"}
MASK = np.array([[1, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]], bool)

#: name: (layer, shape of x, mask)
CASES = {
    "dense": (lambda: Dense(4, **D), (3, 5), None),
    "dense_steps": (lambda: Dense(3, "tanh", **D), (3, 4, 2), MASK),
    "dense_no_bias": (lambda: Dense(3, "softmax", False, **D), (2, 1, 3, 2), None),
    "dropout": (lambda: Dropout(0.4, seed=3, **D), (6, 5), None),
    "dropout_noise": (lambda: Dropout(0.4, (None, 1, None), seed=3, **D), (3, 4, 5), None),
    "dropout_features": (lambda: SpatialDropout1D(0.4, seed=3, **D), (3, 4, 5), None),
    "embedding": (lambda: Embedding(6, 3, **D), (3, 4), None),
    "embedding_flat": (lambda: Embedding(3, 2, mask_zero=True, **D), (7,), None),
    "masking": (lambda: Masking(0.5, **D), (3, 4, 2), None),
    "norm": (lambda: LayerNormalization(gamma_initializer="random_normal", **D), (3, 5), None),
    "norm_axes": (lambda: LayerNormalization([1, 3], gamma_initializer="random_uniform", **D), (2, 3, 4, 2), None),
    "norm_one": (lambda: LayerNormalization(2, center=False, **D), (2, 3, 4, 2), None),
    "norm_plain": (lambda: LayerNormalization(center=False, scale=False, **D), (2, 3), None),
    "batch_norm": (lambda: BatchNormalization(gamma_initializer="random_normal", **D), (5, 3), None),
    "batch_norm_steps": (lambda: BatchNormalization(moving_mean_initializer="ones", **D), (3, 4, 2), None),
    "batch_norm_masked": (lambda: BatchNormalization(gamma_initializer="random_normal", **D), (3, 4, 2), MASK),
    "batch_norm_axis": (lambda: BatchNormalization(1, center=False, **D), (3, 4, 5), MASK),
    "batch_norm_images": (lambda: BatchNormalization(2, scale=False, **D), (3, 4, 2, 3), None),
    "batch_norm_plain": (lambda: BatchNormalization(center=False, scale=False, **D), (4, 2, 2, 3), None),
    "batch_norm_frozen": (lambda: BatchNormalization(trainable=False, epsilon=0.5, **D), (4, 3), None),
    "scaled": (lambda: Normalization(mean=[1, 2], variance=[4, 5], **D), (3, 4, 2), None),
    "scaled_back": (lambda: Normalization(None, 0.5, 2, invert=True, **D), (3, 4), None),
    "conv1d": (lambda: Conv1D(3, 2, activation="sigmoid", **D), (2, 6, 2), None),
    "conv1d_causal": (lambda: Conv1D(2, 3, padding="causal", dilation_rate=2, **D), (2, 6, 2), None),
    "conv1d_gaps": (lambda: Conv1D(2, 2, 4, **D), (2, 11, 2), None),
    "conv2d": (lambda: Conv2D(2, (2, 3), **D), (2, 4, 5, 2), None),
    "conv2d_same": (lambda: Conv2D(2, (3, 2), (2, 3), "same", activation="tanh", **D), (2, 5, 7, 2), None),
    "conv2d_dilated": (lambda: Conv2D(2, 2, dilation_rate=(1, 2), padding="same", **D), (2, 4, 5, 1), None),
    "max1d": (lambda: MaxPooling1D(3, 2, "same", **D), (2, 6, 2), None),
    "max2d": (lambda: MaxPooling2D(**D), (2, 5, 4, 2), None),
    "max2d_overlapping": (lambda: MaxPooling2D((3, 2), 1, **D), (2, 5, 4, 2), None),
    "max2d_gaps": (lambda: MaxPooling2D(1, 2, **D), (2, 5, 4, 2), None),
    "average1d": (lambda: AveragePooling1D(3, 2, "same", **D), (2, 6, 2), None),
    "average1d_gaps": (lambda: AveragePooling1D(2, 4, **D), (2, 11, 2), None),
    "average2d": (lambda: AveragePooling2D((3, 2), (1, 3), "same", **D), (2, 5, 4, 2), None),
    "average": (lambda: GlobalAveragePooling1D(**D), (3, 4, 2), None),
    "average_masked": (lambda: GlobalAveragePooling1D(**D), (3, 4, 2), MASK),
    "average_kept": (lambda: GlobalAveragePooling1D(keepdims=True, **D), (3, 4, 2), MASK),
    "largest": (lambda: GlobalMaxPooling1D(**D), (3, 4, 2), None),
    "largest_kept": (lambda: GlobalMaxPooling1D(keepdims=True, **D), (3, 4, 2), None),
    "flatten": (lambda: Flatten(**D), (2, 3, 4), None),
    "reshape": (lambda: Reshape((-1, 2), **D), (2, 3, 4), None),
    "permute": (lambda: Permute((3, 1, 2), **D), (2, 3, 4, 5), None),
    "zeros": (lambda: ZeroPadding1D((1, 2), **D), (2, 3, 2), None),
    "crop": (lambda: Cropping1D((2, 1), **D), (2, 5, 2), None),
    "upsampled": (lambda: UpSampling1D(3, **D), (2, 3, 2), None),
    "noise": (lambda: GaussianNoise(0.5, seed=3, **D), (3, 4), None),
    "noise_factors": (lambda: GaussianDropout(0.4, seed=3, **D), (3, 4, 2), None),
    "relu": (lambda: ReLU(1, 0.1, 0.4, **D), (3, 4, 5), None),
    "relu_sloping": (lambda: ReLU(negative_slope=0.1, **D), (3, 4), None),
    "leaky": (lambda: LeakyReLU(**D), (3, 4), None),
    "elu": (lambda: ELU(0.7, **D), (3, 4, 2), None),
    "prelu": (lambda: PReLU("random_normal", **D), (3, 4, 2), None),
    "prelu_shared": (lambda: PReLU("random_normal", shared_axes=[1, 3], **D), (3, 4, 2, 3), None),
    "softmax": (lambda: Softmax(**D), (3, 4), MASK),
    "softmax_steps": (lambda: Softmax(1, **D), (3, 4, 2), MASK),
    "softmax_axes": (lambda: Softmax([1, -1], **D), (3, 4, 2), None),
    "steps_batch_norm": (lambda: TimeDistributed(BatchNormalization(**D)), (3, 4, 2), MASK),
    "repeat": (lambda: RepeatVector(3, **D), (2, 4), None),
    "input": (lambda: Input((4,), dtype="float64"), (2, 4), None),
    "steps_dense": (lambda: TimeDistributed(Dense(3, "gelu", **D)), (3, 4, 2), MASK),
    "steps_conv": (lambda: TimeDistributed(Conv2D(2, 2, **D)), (2, 3, 4, 4, 1), None),
    "steps_average": (
        lambda: TimeDistributed(GlobalAveragePooling1D(**D)), (3, 4, 2, 3), np.stack([MASK, ~MASK], axis=-1),
    ),
    "steps_twice": (lambda: TimeDistributed(TimeDistributed(Dense(2, **D))), (2, 3, 2, 4), None),
    "steps_embedding": (lambda: TimeDistributed(Embedding(4, 2, **D)), (2, 3, 4), None),
    "steps_norm": (lambda: TimeDistributed(LayerNormalization([1, 2], **D)), (2, 3, 2, 4), None),
    "steps_max": (lambda: TimeDistributed(MaxPooling1D(2, **D)), (2, 3, 4, 2), None),
    "steps_lstm": (lambda: TimeDistributed(LSTM(2, return_sequences=True, **D)), (2, 3, 4, 2), None),
    "steps_both": (
        lambda: TimeDistributed(Bidirectional(GRU(2, **D))), (3, 4, 2, 3), np.stack([MASK, ~MASK], axis=-1),
    ),
}  # fmt: skip
CASES |= {
    f"activation_{name}": (lambda name=name: Activation(name, **D), (3, 4, 6), None) for name in activations.FUNCTIONS
}


def layers_of(layer):
    """The class of a layer, and of the one within."""
    return {type(layer)} | (layers_of(layer.layer) if hasattr(layer, "layer") else set())


def test_every_layer_is_here():
    """But for recurrent ones, which have a table of their own."""
    here = set().union(*(layers_of(make()) for make, _, _ in CASES.values()))
    registered = {getattr(layers, name) for name in layers.__all__ if isinstance(getattr(layers, name), type)}
    kinds = {kind for kind in registered if issubclass(kind, layers.Layer) and not issubclass(kind, layers.Recurrent)}
    assert kinds - {layers.Layer, layers.Recurrent} <= here


def problem(case):
    """Layer, input, mask, output gradient, and a pass in training mode with the same randomness each time."""
    make, shape, mask = CASES[case]
    rng = np.random.default_rng(len(case))
    layer = make()
    layer.build((None, *shape[1:]), rng)
    x = rng.uniform(0.1, 1.5, shape) * rng.choice([-1, 1], shape)  # away from 0, where some have a kink
    if "embedding" in case:
        x = rng.integers(0, 3, shape)
    elif case == "masking":
        x[0, 1] = 0.5

    def forward():
        if layer.generator is not None:
            layer.generator.bit_generator.state = np.random.default_rng(5).bit_generator.state
        return layer.forward(x, training=True, mask=mask)

    return layer, x, forward, rng.normal(size=forward()[0].shape)


@pytest.mark.parametrize("case", CASES)
def test_against_differences(case):
    layer, x, forward, dy = problem(case)

    def loss():
        return np.sum(forward()[0] * dy)

    dx, gradients = layer.backward(forward()[1], dy)
    parameters = layer.parameters()
    assert (gradients is None) == (not parameters)
    for name, parameter in parameters.items():
        if not layer.described[name].trainable:
            assert not gradients.params[name].any()
            continue
        assert_close(gradients.params[name], differences(loss, parameter), DIFFERENCES["float64"])
    if "embedding" in case:
        assert dx is None
        return
    expected = differences(loss, x)
    if case == "masking":  # a step that equals the mask's value is cut off: differences leave the value
        expected[0, 1] = 0
    assert_close(dx, expected, DIFFERENCES["float64"])


@pytest.mark.parametrize("case", CASES)
def test_the_input_gradient_can_be_left_out(case):
    layer, _, forward, dy = problem(case)
    _, tape = forward()
    _, gradients = layer.backward(tape, dy)
    dx, again = layer.backward(tape, dy, input_gradient=False)
    assert dx is None
    if gradients is not None:
        assert np.array_equal(gradients.flat, again.flat)


@pytest.mark.parametrize("case", CASES)
def test_a_tape_is_used_up_by_nothing(case):
    """Two backward passes, a forward pass between, give the same bits; x and dy are not written to."""
    layer, x, forward, dy = problem(case)
    x_before, dy_before = x.copy(), dy.copy()
    _, tape = forward()
    dx, gradients = layer.backward(tape, dy)
    layer.forward(x[::-1].copy())
    dx_again, gradients_again = layer.backward(tape, dy)
    assert np.array_equal(x, x_before)
    assert np.array_equal(dy, dy_before)
    assert dx is dx_again is None or np.array_equal(dx, dx_again)
    assert gradients is gradients_again is None or np.array_equal(gradients.flat, gradients_again.flat)


@pytest.mark.parametrize("case", ["dense_steps", "embedding", "conv2d", "norm_axes"])
def test_gradients_go_where_others_were(case):
    make, shape, mask = CASES[case]
    layer, rng = make(), np.random.default_rng(0)
    x = rng.integers(6, size=shape) if case == "embedding" else rng.normal(size=shape)
    y, tape = layer.forward(x, mask=mask)
    dy = rng.normal(size=y.shape)
    _, gradients = layer.backward(tape, dy)
    _, old = layer.backward(tape, dy)
    old.flat.fill(np.nan)
    assert layer.backward(tape, dy, into=old)[1] is old
    assert np.array_equal(gradients.flat, old.flat)
    other = Dense(2, **D)
    _, others = other.backward(other.forward(np.ones((1, 1)))[1], np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"into has 4 numbers of float64 .* has \d+ of float64"):
        layer.backward(tape, dy, into=others)


def test_ties_in_a_window_go_to_the_first():
    layer = MaxPooling1D(3, dtype="float64")
    y, tape = layer.forward(np.array([[[1.0], [2.0], [2.0]]]))
    dx, _ = layer.backward(tape, np.ones_like(y))
    assert dx.ravel().tolist() == [0, 1, 0]


@pytest.mark.parametrize("penalty", ["l1", "l2", "l1_l2"])
def test_penalties(penalty):
    layer = Dense(3, kernel_regularizer=penalty, bias_regularizer="l2", bias_initializer="ones", **D)
    y, tape = layer.forward(np.ones((2, 4)))
    _, gradients = layer.backward(tape, np.zeros_like(y))
    layer.add_regularization_gradient(gradients)
    for name, parameter in layer.parameters().items():
        expected = differences(layer.regularization_loss, parameter)
        if expected.any():
            assert_close(gradients.params[name], expected, DIFFERENCES["float64"])
        else:
            assert not gradients.params[name].any()
    layer.trainable = False
    assert layer.regularization_loss() == 0
    before = gradients.flat.copy()
    layer.add_regularization_gradient(gradients)
    assert np.array_equal(gradients.flat, before)
