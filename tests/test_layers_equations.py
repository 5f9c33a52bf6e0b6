"""Layers against their definitions; masks."""

import numpy as np
import pytest
from tolerances import DTYPES, OUTPUT, assert_close

import nblstm
from nblstm.layers import (
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    Input,
    LayerNormalization,
    Masking,
    TimeDistributed,
    activations,
)  # fmt: skip

RNG = np.random.default_rng(0)
X = np.ones((2, 3), np.float32)


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


@pytest.mark.parametrize("axis", [1, 2, [1, 3], (-1, 2), [3, 1, 2], np.int64(-2)])
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


#: Derivatives far below 0 and far above.
SLOPES = {
    "linear": (1, 1), "relu": (0, 1), "relu6": (0, 0), "leaky_relu": (0.2, 1), "elu": (0, 1),
    "selu": (0, 1.0507009873554805), "softplus": (0, 1), "softsign": (0, 0), "sigmoid": (0, 0), "log_sigmoid": (1, 0),
    "hard_sigmoid": (0, 0), "tanh": (0, 0), "hard_tanh": (0, 0), "exponential": (0, np.inf), "silu": (0, 1),
    "hard_silu": (0, 1), "gelu": (0, 1), "mish": (0, 1), "swish": (0, 1), "hard_swish": (0, 1),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SLOPES)
def test_gradients_far_out_are_the_limits(name, dtype):
    function, largest = activations.get(name), np.finfo(dtype).max
    x = np.array([-largest, -1e30, -1e4, 1e4, 1e30, largest], dtype)
    with np.errstate(over="ignore"):
        dx = function.backward(function.forward(x)[1], np.ones_like(x))
    np.testing.assert_allclose(dx, np.repeat(SLOPES[name], 3), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["softplus", "log_sigmoid"])
def test_the_gradient_of_softplus_is_sigmoid(name):
    x = np.linspace(-120, 120, 1001)
    function, sign = activations.get(name), 1 if name == "softplus" else -1
    dx = function.backward(function.forward(x)[1], np.ones_like(x))
    np.testing.assert_array_equal(dx, activations.sigmoid(sign * x))


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


OWN = {
    "cube": (lambda x: x**3, lambda x: 3 * x * x),
    "step": (lambda x: x > 0.5, lambda x: 0 * x),
    "ramp": (lambda x: (x > 0.5) * 0.25 * x + 0.125, lambda x: np.where(x > 0.5, 0.25, 0)),
    "bump": (
        lambda x: nblstm.where(x > 0, nblstm.tanh(x), x * 0.5), lambda x: np.where(x > 0, 1 - np.tanh(x) ** 2, 0.5)
    ),
    "stairs": (
        lambda x: nblstm.where(x > 0, (x > 1) * 1.0, 0.5 * x), lambda x: np.where(x > 0, 0, 0.5)
    ),
    "constant": (lambda x: 3.0, lambda x: 0 * x),
    "sine": (lambda x: nblstm.sin(3 * x), lambda x: 3 * np.cos(3 * x)),
    "cosine": (lambda x: nblstm.cos(x), lambda x: -np.sin(x)),
    "normal": (lambda x: nblstm.erf(x), lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x)),
    "powers": (
        lambda x: nblstm.exp2(x) + nblstm.log2(x * x + 1) + (x * x + 0.5) ** x,
        lambda x: (
            np.log(2) * 2**x + 2 * x / (x * x + 1) / np.log(2)
            + (x * x + 0.5) ** x * (np.log(x * x + 0.5) + 2 * x * x / (x * x + 0.5))
        ),
    ),
    "rounded": (lambda x: nblstm.round(2 * x), lambda x: 2 + 0 * x),
    "signed": (lambda x: nblstm.sign(x) * x * x, lambda x: 2 * np.abs(x)),
    "sign": (lambda x: nblstm.sign(x), lambda x: 0 * x),
    "stopped": (lambda x: nblstm.stop_gradient(nblstm.tanh(x)) * x, lambda x: np.tanh(x)),
    "distance": (lambda x: nblstm.abs(x) / 2, lambda x: np.sign(x) / 2),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("shape", [(5, 7), (300, 250)], ids=["short", "long"])
def test_an_activation_from_its_equation(shape, name, dtype):
    equation, derivative = OWN[name]
    function = activations.ActivationFunction(name, scalar=equation)
    x, dy = RNG.normal(size=shape).astype(dtype), RNG.normal(size=shape).astype(dtype)
    y, kept = function.forward(x)
    dx = function.backward(kept, dy)
    assert y.dtype == dx.dtype == dtype
    assert_close(y, np.vectorize(lambda number: float(equation(float(number))))(x), OUTPUT[dtype])
    assert_close(dx, dy * derivative(x.astype(np.float64)), OUTPUT[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, function in activations.FUNCTIONS.items() if function.scalar])
def test_activations_of_long_arrays_have_the_bits_of_short_ones(name, dtype):
    function, shape = activations.get(name), (40, 1999)
    x, dy = (3 * RNG.normal(size=shape)).astype(dtype), RNG.normal(size=shape).astype(dtype)
    y, kept = function.forward(x)
    dx = function.backward(kept, dy)
    assert function.forward(x.copy(), own=True)[0].tobytes() == y.tobytes()
    for k in range(len(x)):
        row, kept_row = function.forward(x[k : k + 1])
        assert row.tobytes() == y[k].tobytes()
        assert function.backward(kept_row, dy[k : k + 1]).tobytes() == dx[k].tobytes()
    turned = function.backward(np.asfortranarray(kept), np.asfortranarray(dy))
    np.testing.assert_array_equal(turned, dx)


def test_an_activation_needs_an_equation_or_formulas():
    for given in ({}, {"value": np.sin}, {"pullback": np.sin, "scalar": nblstm.tanh}):
        with pytest.raises(TypeError, match="'sine' needs value and pullback, or scalar alone"):
            activations.ActivationFunction("sine", **given)
    with pytest.raises(TypeError, match="name is 3; give a string"):
        activations.ActivationFunction(3, scalar=nblstm.tanh)
    for given in ({"scalar": 3}, {"value": np.sin, "pullback": 3}, {"scalar": nblstm.tanh, "overwrite": "x"}):
        with pytest.raises(TypeError, match=r"of the activation 'sine' is .*; give a function, or None"):
            activations.ActivationFunction("sine", **given)
    with pytest.raises(ValueError, match="keeps is 'both'; give one of output, input"):
        activations.ActivationFunction("sine", np.sin, np.cos, "both")
    assert repr(activations.ActivationFunction("sine", scalar=np.sin)) == "<activation sine>"
    with pytest.raises(nblstm.CellError, match=r"the activation 'sine' calls numpy\.sin on a traced value"):
        activations.ActivationFunction("sine", scalar=np.sin)(X)


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
