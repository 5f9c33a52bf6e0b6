"""Own losses and activations, each an equation, in models: fits, masks, weights, layers, files, other processes."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from differences import differences
from messages import message_of
from processes import environment
from tolerances import OUTPUT, assert_close

import nblstm
from nblstm import CellError, activations, cell, exp, log, maximum, nn, softplus, sqrt, utils
from nblstm.layers import GRU, LSTM, Activation, Conv1D, Dense, Input, Masking, SimpleRNN
from nblstm.models import Sequential, load_model
from nblstm.training import losses, metrics

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(24, 5, 3)).astype("f4"), RNG.normal(size=(24, 5, 2)).astype("f4")
X[::3, 3:] = 0  # masked


@nblstm.loss
def pinball(y_true, y_pred, q=0.5):
    return maximum(q * (y_true - y_pred), (q - 1) * (y_true - y_pred))


@nblstm.loss(outputs="mean scale")
def gaussian(y_true, mean, scale):
    s = softplus(scale) + 1e-3
    return log(s) + ((y_true - mean) / s) ** 2 / 2


@nblstm.loss
def squared(y_true, y_pred):
    return (y_pred - y_true) ** 2


@nblstm.activation
def bent(x):
    """Goes on as x, and half as steep."""
    return (sqrt(x**2 + 1) - 1) / 2 + x


OWN = {"pinball": pinball, "gaussian": gaussian, "squared": squared, "bent": bent}


def model_of(loss, outputs=1, **compiled):
    stack = (
        Masking(),
        LSTM(4, activation=bent, return_sequences=True),
        Dense(3, bent),
        Activation(bent),
        Dense(2 * outputs),
    )
    model = Sequential([Input((5, 3)), *stack], seed=0)
    model.compile("adam", loss, **compiled)
    return model


@pytest.fixture
def registered():
    """Undoes what a test registers."""
    before = dict(utils.get_custom_objects())
    yield utils.register_keras_serializable
    utils.get_custom_objects().clear()
    utils.get_custom_objects().update(before)


# --- losses in models -----------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", losses.base_loss.REDUCTIONS)
@pytest.mark.parametrize("weights", [{}, {"sample_weight": RNG.uniform(0.5, 2, (24, 5))}])
def test_a_fit_is_that_of_the_built_in_loss(reduction, weights):
    """Masked and weighted, in metrics too, with the same bits."""
    logs = []
    for own, known in ((squared, losses.MeanSquaredError()), (losses.MeanSquaredError(), squared)):
        loss = own.replace(reduction=reduction) if own is squared else losses.MeanSquaredError(reduction)
        model = model_of(loss, metrics=[known], weighted_metrics=[known])
        history = model.fit(X, Y, epochs=2, batch_size=8, verbose=0, validation_data=(X, Y), **weights).history
        logs.append(([*history.values()], model.evaluate(X, Y, verbose=0), model.predict(X, verbose=0).tobytes()))
    assert logs[0] == logs[1]


def test_class_weights_and_labels():
    """Classes as targets, of one output and of two."""

    @nblstm.loss
    def logistic(y_true, y_pred):
        return softplus(y_pred) - y_true * y_pred

    @nblstm.loss(outputs="no yes")
    def two(y_true, no, yes):
        return softplus(yes - no) - y_true * (yes - no)

    labels = (Y[:, 0, 0] > 0).astype("i8")
    found = []
    for loss, n in ((losses.BinaryCrossentropy(from_logits=True), 1), (logistic, 1), (two, 2)):
        model = Sequential([Input((5, 3)), LSTM(4), Dense(n)], seed=0)
        model.compile("sgd", loss)
        found.append(model.fit(X, labels, epochs=3, verbose=0, class_weight={0: 0.5, 1: 2.0}).history["loss"])
        assert found[-1][-1] < found[-1][0]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_masked_steps_do_not_count():
    model = model_of(gaussian, outputs=2, metrics=[gaussian])
    other = Y.copy()
    other[::3, 3:] = 100
    loss, metric = model.evaluate(X, Y, verbose=0)
    assert model.evaluate(X, other, verbose=0) == [loss, metric]
    p, kept = model.predict(X, verbose=0), np.ones((24, 5), bool)
    kept[::3, 3:] = False
    assert metric == pytest.approx(gaussian.values(Y, p)[kept].mean(), rel=1e-5)


def test_several_outputs_for_each_target():
    """A scale that is learned: predictions (B, T, 2 K) of targets (B, T, K)."""
    model = model_of(gaussian, outputs=2)
    history = model.fit(X, Y, epochs=30, verbose=0).history["loss"]
    assert history[-1] < history[0]
    with pytest.raises(ValueError, match=r"y_true has shape .*; 2 outputs, mean scale, in y_pred of shape"):
        model.fit(X, Y[..., :1], verbose=0)
    odd = Sequential([Input((5, 3)), LSTM(4), Dense(3)])
    odd.compile("sgd", gaussian)
    with pytest.raises(ValueError, match="needs 2 outputs, mean scale, per target"):
        odd.fit(X, Y[:, 0], verbose=0)


def test_metrics_are_named_after_them():
    model = model_of("mse", metrics=[pinball, pinball.replace(q=0.9, name="high"), pinball.replace(q=0.1)])
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert list(logs) == ["loss", "pinball", "high", "pinball_1"]
    assert isinstance(metrics.get(pinball), metrics.LossMetric)


def test_truncated_bptt():
    model = Sequential([Input((5, 3)), LSTM(4, return_sequences=True), Dense(4)], seed=0)
    model.compile("sgd", gaussian, bptt_steps=2)
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"][0])


# --- activations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [
        lambda a, **options: [Dense(3, a, **options)],
        lambda a, **options: [Activation(a, **options)],
        lambda a, **options: [Conv1D(2, 2, activation=a, **options)],
        lambda a, **options: [LSTM(3, activation=a, recurrent_activation=a, **options)],
        lambda a, **options: [GRU(3, activation=a, **options)],
        lambda a, **options: [SimpleRNN(3, activation=a, **options)],
    ],
)  # fmt: skip
def test_an_activation_in_layers(make, registered):
    """By object and by its registered name; gradients against central differences."""
    registered("Mine")(bent)
    x = RNG.normal(size=(2, 4, 3))
    outputs = []
    for given in (bent, "Mine>bent"):
        [layer] = make(given, dtype="float64")
        layer.build(x.shape, np.random.default_rng(0))
        y, tape = layer.forward(x)
        dx, _ = layer.backward(tape, np.ones_like(y))
        outputs.append(y)
        assert_close(dx, differences(lambda layer=layer: layer(x).sum(), x), 1e-8)
        assert layer.get_config()["activation"] == "Mine>bent"
    np.testing.assert_array_equal(*outputs)


def test_an_activation_of_arrays_and_of_scalars(registered):
    x = np.linspace(-3, 3, 7)
    expected = (np.sqrt(x**2 + 1) - 1) / 2 + x
    np.testing.assert_allclose(bent(x), expected, rtol=1e-15)
    assert bent(x.astype("f4")).dtype == "f4"
    np.testing.assert_allclose(bent.backward(bent.forward(x)[1], np.ones(7)), x / (2 * np.sqrt(x**2 + 1)) + 1)
    assert bent.__doc__ == "Goes on as x, and half as steep."
    registered("Mine")(bent)

    @cell(gates="a", states="h")
    def own(a, h):
        return bent(a)

    rows, cells = (
        RNG.normal(size=(6, 2, 3)).astype("f4"),
        (own, nblstm.cells.rnn_with(bent), nblstm.cells.rnn_with("Mine>bent")),
    )
    found = [nn.Recurrent(each, 3, 4, seed=0)(rows)[0] for each in cells]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    with pytest.raises(CellError, match="the activation 'softmax' does not act on each number alone"):
        nn.Recurrent(cell(gates="a", states="h")(lambda a, h: activations.softmax(a)), 3, 4)

    @nblstm.activation
    def twice(x):
        return bent(bent(x))

    np.testing.assert_allclose(twice(x), bent(bent(x)), rtol=1e-15)


def test_an_activation_by_a_factory():
    def scaled(beta):
        return nblstm.activation(lambda x: x / (1 + exp(-beta * x)), name=f"swish_{beta}")

    x = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(scaled(2)(x), x / (1 + np.exp(-2 * x)), rtol=1e-14)
    assert scaled(2).name == "swish_2"


def test_steppers_and_compiled_models_have_them():
    model = Sequential(
        [Input((5, 3)), LSTM(4, activation=bent, return_sequences=True), Dense(3, bent), Activation(bent)], seed=0
    )
    step = model.stepper(24)
    stepped = np.stack([step(X[:, t]).copy() for t in range(5)], axis=1)
    assert_close(stepped, model.predict(X, verbose=0), OUTPUT["float32"])


@pytest.mark.parametrize(
    ("equation", "options", "said"),
    [
        (3, {}, ("activation() decorates 3",)),
        (lambda x, beta: x, {}, ("has the arguments x, beta", "let it take one number")),
        (lambda: 1.0, {}, ("has the arguments none",)),
        (lambda x: x, {"name": 3}, ("name of the activation is 3",)),
    ],
)
def test_functions_that_are_no_activation(equation, options, said):
    message_of(CellError, lambda: nblstm.activation(equation, **options), *said)


def test_activations_that_cannot_be_traced():
    own = nblstm.activation(lambda x: np.tanh(x), name="own")
    for work in (lambda: own(X), lambda: LSTM(3, activation=own)(X)):
        with pytest.raises(CellError, match=r"calls numpy.tanh on a traced value; write nblstm.tanh"):
            work()
    with pytest.raises(TypeError, match="give a name or an ActivationFunction, such as the decorator"):
        Dense(3, lambda x: x)
    with pytest.raises(ValueError, match="no activation named 'benn'"):
        Dense(3, "benn")


# --- files and other processes --------------------------------------------------------------------

MODELS = {
    "gaussian": lambda: model_of(gaussian, 2, metrics=[gaussian], weighted_metrics=[gaussian.replace(name="again")]),
    "pinball": lambda: model_of(
        pinball.replace(q=0.9, reduction="sum"), metrics=["mae", pinball, pinball.replace(q=0.1, name="low")]
    ),
}


def same(model, other):
    assert [repr(made) for made in _measured(other)] == [repr(made) for made in _measured(model)]
    assert other.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    logs = [each.fit(X, Y, verbose=0, shuffle=False).history for each in (copy.deepcopy(model), other)]
    assert logs[0] == logs[1]


def _measured(model):
    objective = model.objective
    return objective.loss, *objective.metrics, *objective.weighted_metrics


@pytest.mark.parametrize("suffix", [".nblstm", ".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_files(name, suffix, registered, tmp_path):
    if suffix != ".nblstm":
        pytest.importorskip("h5py")
    model = MODELS[name]()
    path = tmp_path / f"m{suffix}"
    model.save(path)
    same(model, load_model(path, OWN))
    bends = {"bent": bent}
    for given, missing in (({}, "activation named 'Custom>bent'"), (bends, f"named 'Custom>{name}'")):
        said = f"no {missing}" if given == {} else missing
        with pytest.raises(ValueError, match=f"cannot be loaded: there is .*{said}.*register it by .*custom_objects="):
            load_model(path, given)
    with pytest.raises(ValueError, match=f"the loss 'Custom>{name}' stands for 3; give an object of Loss"):
        load_model(path, {**OWN, name: 3})
    for made in OWN.values():
        registered()(made)
    same(model, load_model(path))


def test_a_file_of_parameters_that_the_loss_has_not(tmp_path):
    MODELS["pinball"]().save(tmp_path / "m")
    with pytest.raises(ValueError, match="cannot be loaded: the loss 'gaussian' got the unknown parameter 'q'"):
        load_model(tmp_path / "m", {**OWN, "pinball": gaussian})


def test_keras_own_function_is_none_of_nblstms_losses(tmp_path):
    """Keras has no loss named pinball or quantile: a function of these names is the user's own."""
    pytest.importorskip("h5py")

    def quantile(y_true, y_pred):
        return np.abs(y_pred - y_true).mean(-1), np.sign(y_pred - y_true) / 2

    model_of(quantile).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="there is no loss named 'Custom>quantile'"):
        load_model(tmp_path / "m.keras", OWN)
    assert load_model(tmp_path / "m.keras", {**OWN, "quantile": quantile}).loss.fn is quantile


def test_registered_names(registered):
    registered("Mine")(pinball)
    registered("Mine", "wide")(gaussian)
    assert losses.get("Mine>pinball") is pinball
    assert losses.get(pinball.replace(q=0.2).record()).parameters == {"q": 0.2}
    assert gaussian.record()["class_name"] == "Mine>wide"
    assert metrics.get("Mine>wide").loss is gaussian
    with utils.custom_object_scope({"mse": pinball}):
        assert losses.get("mse") is pinball

    def defined(factor):
        @nblstm.loss
        def again(y_true, y_pred):
            return factor * (y_pred - y_true) ** 2

        @nblstm.activation
        def curved(x):
            return factor * x

        return again, curved

    for old, new in zip(defined(1.0), defined(2.0), strict=True):  # as in a notebook, where a cell is run once more
        registered()(old)
        registered()(new)
    with pytest.raises(ValueError, match="'Mine>pinball' is registered already, for another"):
        registered("Mine", "pinball")(squared)
    with pytest.raises(ValueError, match="'Custom>curved' is registered already, for another"):
        registered("Custom", "curved")(bent)


def test_two_of_one_name_in_a_file(tmp_path):
    def factory(factor):
        return nblstm.loss(lambda y, p: factor * (p - y) ** 2, name="scaled")

    model_of(factory(1.0), metrics=[factory(1.0)]).save(tmp_path / "m")  # of equal equations: one loss
    with pytest.raises(ValueError, match="two objects of your own with one name, 'Custom>scaled'"):
        model_of(factory(1.0), metrics=[factory(2.0)]).save(tmp_path / "m")
    with pytest.raises(TypeError, match="the loss '<lambda>' is your own and cannot be saved; give it a name"):
        model_of(nblstm.loss(lambda y, p: (p - y) ** 2)).save(tmp_path / "m")


def test_copies_and_pickles():
    low = pinball.replace(q=0.1, reduction="sum")
    for made in (pinball, gaussian, bent):
        assert copy.copy(made) is copy.deepcopy(made) is pickle.loads(pickle.dumps(made)) is made
    assert pickle.loads(pickle.dumps(low)).get_config() == low.get_config()
    model = model_of(gaussian, 2)
    model.fit(X, Y, verbose=0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        same(model, other)

    @nblstm.loss
    def local(y_true, y_pred, q=0.5):
        return q * (y_true - y_pred) ** 2

    assert pickle.loads(pickle.dumps(local)) is local
    assert pickle.loads(pickle.dumps(local.replace(q=3)))(np.zeros(3), np.ones(3)) == 3

    @nblstm.loss
    def decides(y_true, y_pred, q=0.5):
        return (y_true - y_pred) ** 2 if q > 0 else y_pred

    message_of(
        TypeError, lambda: pickle.dumps(decides), "the loss 'decides' cannot be pickled by its equation", "in a module"
    )


SCRIPT = """
import multiprocessing
import numpy as np
import nblstm

@nblstm.activation
def cube(x):
    return x**3

@nblstm.loss(outputs="mean scale")
def gaussian(y_true, mean, scale, floor=0.01):
    s = nblstm.softplus(scale) + floor
    return nblstm.where(s > 0, nblstm.log(s), 0) + ((y_true - mean) / s) ** 2 / 2

y, p = np.arange(3.0), np.arange(6.0).reshape(3, 2)

def values(loss, activation):
    return loss.values(y, p), activation(p), loss.replace(floor=1).values(y, p), repr(loss), loss.outputs

if __name__ == "__main__":
    loss = gaussian.replace(floor=0.5)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(values, (loss, cube))
    print(all(map(np.array_equal, found, values(loss, cube))))
"""


def test_those_of_a_script_in_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], env=environment(), text=True, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
