"""A Sequential step by step, in functions under `numba.njit` and by its stepper: what `predict` gives, at each step."""

import copy
import pickle

import numpy as np
import pytest
import reference
from numba import njit
from processes import run_python
from scipy.special import erf
from tolerances import OUTPUT, assert_close

import nblstm
from nblstm import Sequential
from nblstm.activations import ActivationFunction
from nblstm.layers import (
    ELU,
    GRU,
    LSTM,
    Activation,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    Input,
    LayerNormalization,
    LeakyReLU,
    Masking,
    Normalization,
    PReLU,
    ReLU,
    SimpleRNN,
    Softmax,
    SpatialDropout1D,
    TimeDistributed,
)


@njit
def rolled(net, x):
    """Outputs of all steps of one sequence."""
    s = net.zero_state()
    y = np.empty((len(x), net.output_size))
    for t in range(len(x)):
        y[t] = net.step(x[t], s)
    return y


@njit
def rolled_batch(net, x, s, y):
    for t in range(x.shape[1]):
        y[:, t] = net.step(x[:, t], s)


def numbers(B=1, T=6, I=3, dtype="float64"):
    return np.random.default_rng(B).normal(size=(B, T, I)).astype(dtype)


def trained(*layers, features=(None, 3)):
    """A model whose parameters, biases too, are not those that initializers give."""
    model = Sequential([Input(features), *layers], seed=0)
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    return model


def lstm(x, kernel, recurrent, bias):
    """The oracle's LSTM on the parameters of a layer."""
    zeros = np.zeros_like(bias)
    parameters = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T, "bias_ih_l0": bias, "bias_hh_l0": zeros}
    parameters = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    return reference.forward(reference.CELLS["lstm"], parameters, x.swapaxes(0, 1))[0].swapaxes(0, 1)


def normalized(x, gamma, beta, epsilon=1e-3):
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon) + beta


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_has_the_numbers_of_its_equations(dtype):
    model = trained(
        LSTM(16, return_sequences=True, dtype=dtype), LayerNormalization(dtype=dtype), Dropout(0.5, dtype=dtype),
        LSTM(9, return_sequences=True, dtype=dtype), Dense(7, "tanh", dtype=dtype),
        TimeDistributed(Dense(5, dtype=dtype)), Activation("softmax", dtype=dtype),
    )  # fmt: skip
    x = numbers(4, dtype=dtype)
    w = [array.astype(np.float64) for array in model.get_weights()]
    expected = lstm(normalized(lstm(x.astype(np.float64), *w[:3]), *w[3:5]), *w[5:8])
    expected = softmax(np.tanh(expected @ w[8] + w[9]) @ w[10] + w[11])
    net = model.compiled(4)
    y, s = np.empty(expected.shape, dtype), net.zero_state()
    rolled_batch(net, x, s, y)
    assert_close(y, expected, OUTPUT[dtype])
    assert (net.input_size, net.output_size, net.num_layers) == (3, 5, 2)
    step = model.stepper(4)
    for t in range(x.shape[1]):
        np.testing.assert_array_equal(step(x[:, t]), y[:, t])
    for ours, theirs in zip(step.state, net.states(s), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "equation"),
    [
        ("relu", lambda x: np.maximum(x, 0)), ("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("tanh", np.tanh),
        ("softplus", lambda x: np.log1p(np.exp(x))), ("elu", lambda x: np.where(x > 0, x, np.expm1(x))),
        ("gelu", lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2)))), ("softmax", softmax),
        ("log_softmax", lambda x: np.log(softmax(x))), ("linear", lambda x: x), ("exponential", np.exp),
        ("softsign", lambda x: x / (1 + np.abs(x))), ("swish", lambda x: x / (1 + np.exp(-x))),
    ],
)  # fmt: skip
def test_activations(name, equation, dtype):
    model = Sequential([Input((None, 33)), Activation(name, dtype=dtype), SimpleRNN(3, dtype=dtype)], seed=0)
    x = 3 * numbers(1, 20, 33, dtype)[0]
    model.pop()
    if name == "linear":
        model.add(Dense(33, use_bias=False, kernel_initializer="identity", dtype=dtype))
    net = model.compiled()
    got = np.stack([net.step(row, net.zero_state()) for row in x])
    assert_close(got, equation(x.astype(np.float64)), OUTPUT[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_that_act_on_each_number(dtype):
    given = {"dtype": dtype}
    model = trained(
        Normalization(**given), BatchNormalization(**given), LSTM(9, return_sequences=True, **given),
        GaussianNoise(0.5, **given), PReLU("ones", shared_axes=[1], **given), Dense(8, **given),
        ReLU(1, 0.2, 0.1, **given), PReLU(shared_axes=[1, 2], **given), LeakyReLU(**given), ELU(0.5, **given),
        Normalization(None, 0.3, 0.0, invert=True, **given), TimeDistributed(PReLU("ones", **given)),
        GaussianDropout(0.4, **given), TimeDistributed(BatchNormalization(center=False, **given)),
        Normalization(mean=0.1 * np.arange(8), variance=np.ones(8), **given), Softmax(**given),
    )  # fmt: skip
    x = 3 * numbers(4, dtype=dtype)
    y, net = np.empty((4, 6, 8), dtype), model.compiled(4)
    rolled_batch(net, x, net.zero_state(), y)
    assert_close(y, model.predict(x, verbose=0), OUTPUT[dtype])
    step = model.stepper(4)
    np.testing.assert_array_equal(step(x[:, 0]), y[:, 0])
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    net.update(model)
    rolled_batch(net, x, net.zero_state(), y)
    assert_close(y, model.predict(x, verbose=0), OUTPUT[dtype])


def test_a_feature_that_never_varies():
    """Its deviation counts as 1e-7: what is left of x - mean by rounding would be large."""
    model = Sequential([Input((None, 2)), Normalization(mean=[1 / 3, 0], variance=[0, 1])])
    x = np.float32([1 / 3, 2])
    assert model.compiled().step(x, model.compiled().zero_state()).tolist() == model(x[None, None])[0, 0].tolist()


def test_an_activation_of_ones_own():
    bent = ActivationFunction("bent", scalar=lambda x: x + 0.5 * nblstm.tanh(3 * x))
    model = trained(GRU(5, return_sequences=True, dtype="float64"), Dense(4, bent, dtype="float64"))
    x = numbers()
    np.testing.assert_allclose(rolled(model.compiled(), x[0]), model.predict(x, verbose=0)[0], rtol=1e-12)
    again = pickle.loads(pickle.dumps(model.compiled()))
    np.testing.assert_array_equal(rolled(again, x[0]), rolled(model.compiled(), x[0]))


@nblstm.cell(gates="a", states="h m", initial={"h": 0.5, "m": -2.0})
def own(a, h, m):
    """Two states that do not begin at 0."""
    m = 0.9 * m + 0.1 * nblstm.tanh(a)
    return nblstm.tanh(a + m), m


@pytest.mark.parametrize(
    "layers",
    [
        [GRU(8, dtype="float64")], [GRU(8, reset_after=False, dtype="float64")], [SimpleRNN(8, dtype="float64")],
        [LSTM(8, use_bias=False, stateful=True, dtype="float64")],
        [LSTM(8, learn_initial_state=True, return_sequences=True, dtype="float64"), SimpleRNN(3, dtype="float64")],
        [nblstm.layers.RNN(own, 8, dtype="float64")],
        [LSTM(64, dropout=0.5, dtype="float64"), Dense(1, dtype="float64")],
    ],
)  # fmt: skip
def test_the_last_step_is_what_predict_gives(layers):
    model = Sequential([Input(batch_shape=(2, None, 3)), *copy.deepcopy(layers)], seed=0)
    x = numbers(2)
    expected = model.predict(x, batch_size=2, verbose=0)
    step = model.stepper(2)
    for t in range(x.shape[1]):
        y = step(x[:, t])
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_numbers_for_an_embedding(dtype):
    model = trained(
        Embedding(11, 6, dtype=dtype), SpatialDropout1D(0.5, dtype=dtype), LSTM(8, return_sequences=True, dtype=dtype),
        Dense(11, dtype=dtype), features=(None,),
    )  # fmt: skip
    x = np.random.default_rng(0).integers(0, 11, (3, 9))
    table, *w = (array.astype(np.float64) for array in model.get_weights())
    expected = lstm(table[x], *w[:3]) @ w[3] + w[4]
    net, y = model.compiled(3), np.empty(expected.shape, dtype)
    for whole in ("int64", "int32", "uint8"):
        rolled_batch(net, x.astype(whole), net.zero_state(), y)
        assert_close(y, expected, OUTPUT[dtype])
    step = model.stepper(3)
    for t in range(9):
        np.testing.assert_array_equal(step(x[:, t].astype("float32")), y[:, t])
    one = model.compiled()
    np.testing.assert_array_equal(rolled(one, x[1]), np.float64(y[1]))
    s = one.zero_state()
    np.testing.assert_array_equal(one.step(x[1, 0], s), y[1, 0])
    np.testing.assert_array_equal(one.step(int(x[1, 1]), s), y[1, 1])
    np.testing.assert_array_equal(one.step(x[1, 2:3], s), y[1:2, 2])

    @njit
    def sampled(net, k, steps):
        s, found = net.zero_state(), 0
        for _ in range(steps):
            k = np.argmax(net.step(k, s))
            found = 12 * found + k
        return found

    stepper, k, found = model.stepper(), 4, 0
    for _ in range(5):
        k = int(np.argmax(stepper(k)))
        found = 12 * found + k
    assert sampled(one, 4, 5) == found


def test_one_compiled_function_serves_networks_and_models():
    @njit
    def last(net, x):
        s = net.zero_state()
        y = net.step(x[0], s)
        for t in range(1, len(x)):
            y = net.step(x[t], s)
        return y

    x = numbers(1, dtype="float32")[0]
    for made in (nblstm.nn.LSTM(3, 8, 2), trained(LSTM(8), Dense(2, "relu")), trained(GRU(4), Dense(9, "softmax"))):
        expected = made(x[None])
        expected = expected[0][0, -1] if isinstance(expected, tuple) else expected[0]
        if not isinstance(made, Sequential):
            expected = made(x)[0][-1]
        np.testing.assert_allclose(last(made.compiled(), x), expected, rtol=1e-5, atol=1e-6)
    assert len(last.signatures) == 1


def test_parameters_are_seen():
    model = trained(LSTM(8, dtype="float64"), Dense(2, dtype="float64"))
    x, step, net = numbers(), model.stepper(), model.compiled()

    def check(update):
        y = [step(row) for row in x[0]][-1]
        np.testing.assert_allclose(y, model.predict(x, verbose=0)[0], rtol=1e-12)
        if update:
            net.update(model)
        np.testing.assert_allclose(rolled(net, x[0])[-1], model.predict(x, verbose=0)[0], rtol=1e-12)
        step.reset()

    check(False)
    model.compile("sgd", "mse")
    model.fit(numbers(8), np.ones((8, 2)), epochs=2, verbose=0)
    check(True)
    kernel = model.layers[1].parameters()["kernel"]
    for _ in range(2):
        kernel *= 0.5
        check(True)
    with pytest.raises(ValueError, match=r"^update\(\) got .* compile it by itself$"):
        net.update(trained(LSTM(8, dtype="float64"), Dense(2, "relu", dtype="float64")))
    with pytest.raises(ValueError, match=r"^update\(\) got .* compile it by itself$"):
        net.update(nblstm.nn.LSTM(3, 8, dtype="float64"))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda step: pickle.loads(pickle.dumps(step))])
def test_steppers_are_copied_with_their_states(copied):
    model = trained(LSTM(8, return_sequences=True), GRU(5), Dense(2, "elu"))
    x, step = numbers(1, dtype="float32")[0], model.stepper()
    step(x[0])
    other = copied(step)
    expected = step(x[1]).copy()
    np.testing.assert_array_equal(other(x[1]), expected)
    assert [[state.shape for state in layer] for layer in step.state] == [[(1, 8)] * 2, [(1, 5)]]
    before = step.state
    after = [step(row).copy() for row in x[2:]]
    step.state = before
    np.testing.assert_array_equal([step(row).copy() for row in x[2:]], after)
    with pytest.raises(ValueError, match="give a tuple of 2"):
        step.state = before[:1]


def test_inputs_of_a_stepper_are_what_a_layer_takes():
    model = trained(LSTM(8), Dense(2))
    step, again = model.stepper(), model.stepper()
    np.testing.assert_array_equal(step([1, 2, 3]), again(np.array([[1.0, 2.0, 3.0]], "float32"))[0])
    with pytest.raises(ValueError, match=r"x has shape \(4,\) and floats; this network has input_size=3"):
        step(np.zeros(4, "float32"))


def test_a_model_is_true_once_it_is_compiled_for_training():
    """Keras's ``model.compiled``."""
    model = trained(LSTM(8), Dense(2))
    assert not model.compiled
    assert model.compiled == False  # noqa: E712
    model.compile("sgd", "mse")
    assert model.compiled
    assert repr(model.compiled) == "True"
    assert model.compiled().output_size == 2


def test_a_models_step_without_compilation_of_the_users_functions():
    code = """
import numpy as np
from numba import njit
from nblstm import Sequential
from nblstm.layers import Dense, Embedding, Input, LSTM, LayerNormalization

@njit
def roll(net, x):
    s = net.zero_state()
    for t in range(len(x)):
        y = net.step(x[t], s)
    return y

layers = [Embedding(5, 3), LSTM(4, return_sequences=True), LayerNormalization(), LSTM(4), Dense(2, "softmax")]
model = Sequential([Input((None,)), *layers], seed=0)
x = np.array([0, 3, 4, 1])
assert abs(roll(model.compiled(), x) - model.predict(x[None], verbose=0)[0]).max() < 1e-6
"""
    run_python(code, NUMBA_DISABLE_JIT="1")


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Bidirectional(LSTM(4))], r"^layer 'bidirectional\w*' is a Bidirectional, which cannot step; give a model of"),
        ([LSTM(4, go_backwards=True)], r"^layer 'lstm\w*' goes backwards and cannot step; give"),
        ([Conv1D(4, 2), LSTM(4)], r"^layer 'conv1d\w*' is a Conv1D, which cannot step; give"),
        ([Masking(), LSTM(4)], r"^layer 'masking\w*' is a Masking, which cannot step; give"),
        (
            [LSTM(4), Dense(2, dtype="float64")],
            r"^layer 'dense\w*' has dtype float64 and the model float32; to step,",
        ),
        ([Dropout(0.5)], "^the model has no layer that computes anything"),
        (
            [LSTM(4, return_sequences=True), Softmax(1)],
            r"^layer 'softmax\w*' normalizes over axis 1, and a step has fea",
        ),
    ],
)
def test_layers_that_cannot_step(layers, message):
    model = Sequential([Input((None, 3)), *copy.deepcopy(layers)])
    for make in (model.compiled, model.stepper):
        with pytest.raises(ValueError, match=message):
            make()


def test_other_models_that_cannot_step():
    for layer, message in (
        (PReLU(), "has an alpha for each step; give shared_axes="), (BatchNormalization(1), "normalizes over axis 1"),
        (Normalization([1, 2]), r"normalizes over axis \(1, 2\)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Sequential([Input((6, 3)), layer]).compiled()
    with pytest.raises(ValueError, match="the model is not built"):
        Sequential([LSTM(4)]).compiled()
    with pytest.raises(ValueError, match=r"'flatten\w*' is a Flatten, which cannot step"):
        Sequential([Input((4, 3)), Flatten(), Dense(2)]).stepper()
    for layers in ([TimeDistributed(LSTM(4)), LSTM(4)], [TimeDistributed(Dense(4))], [Dense(4)]):
        with pytest.raises(
            ValueError, match=r"has an input of shape \(None, None, 5, 3\) and cannot step; give a model of"
        ):
            Sequential([Input((None, 5, 3)), *layers]).compiled()
    with pytest.raises(ValueError, match=r"is an Embedding behind other layers|has an input of shape"):
        Sequential([Input((None,)), Embedding(5, 3), Embedding(5, 3)]).compiled()
    with pytest.raises(ValueError, match=r"normalizes over axis 1, and a step has features alone; give axis=-1"):
        Sequential([Input((4, 3)), LayerNormalization(axis=1), LSTM(4)]).compiled()
    twice = ActivationFunction("twice", lambda x: 2 * x, lambda y, dy: 2 * dy)
    with pytest.raises(ValueError, match="has the activation 'twice' on whole arrays"):
        Sequential([Input((None, 3)), Dense(4, twice)]).compiled()


def test_indices_that_there_are_not():
    model = Sequential([Input((None,)), Embedding(5, 3), LSTM(4)])
    padded = Sequential([Input((None,)), Embedding(5, 3, mask_zero=True), LSTM(4)])

    @njit
    def stepped(net, x):
        return net.step(x, net.zero_state())

    net = model.compiled()
    for step in (stepped, lambda net, x: net.step(x, net.zero_state())):
        for wrong in (5, -1):
            with pytest.raises(ValueError, match=f"x has the index {wrong}; the Embedding takes integers from 0 to 4"):
                step(net, wrong)
            with pytest.raises(ValueError, match=f"x has the index {wrong}; the Embedding takes integers from 0 to 4"):
                step(net, np.array([wrong]))
        with pytest.raises(ValueError, match=r"x has the index 0, which is padding and no step \(mask_zero\); the Emb"):
            step(padded.compiled(), 0)
        with pytest.raises(ValueError, match=r"x has shape \(1,\) and floats; this network begins with an Embedding"):
            step(net, np.zeros(1))
        with pytest.raises(ValueError, match=r"\(2,\) and integers; .* an array \(1,\) of integers or one integer"):
            step(net, np.zeros(2, int))
        with pytest.raises(ValueError, match=r"x has shape \(\) and integers; .* give an array \(3,\) of integers$"):
            step(model.compiled(3), 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_may_be_the_next_inputs(dtype):
    """They are a view of the state, where a step writes: a Dense alone read there what it had written."""
    model = Sequential([Input((None, 100)), Dense(100, dtype=dtype)], seed=0)
    net = model.compiled()

    @njit
    def twice(net, x, s):
        return net.step(net.step(x, s), s)

    x = np.random.default_rng(0).normal(size=100).astype(dtype)
    weights, bias = (value.astype("f8") for value in model.get_weights())
    expected = (x @ weights + bias) @ weights + bias
    s = net.zero_state()
    assert_close(twice(net, x, s), expected, OUTPUT[dtype])
    assert_close(net.step(net.step(x, s), s), expected, OUTPUT[dtype])
