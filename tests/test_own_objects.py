"""Objects of the user's own in a model: copies keep them, files refer to them by name, and say so when they cannot."""

import copy
import json
import pickle

import numpy as np
import pytest
from messages import message_of

import nblstm
from nblstm import cell, layers, tanh, utils
from nblstm.layers import RNN, Activation, Bidirectional, Dense, Input, TimeDistributed, activations
from nblstm.models import Sequential, clone_model, load_model, model_from_json
from nblstm.training import SGD, callbacks, losses, metrics
from nblstm.training.optimizers import Optimizer, schedules

X = np.random.default_rng(0).normal(size=(6, 4, 3)).astype("f4")
Y = X[:, 0, :2]


def thirds(shape, dtype=None):
    return np.full(shape, 1 / 3)


def halved(w):
    return w / 2


def worst(y_true, y_pred):
    return np.abs(y_true - y_pred).max(axis=-1)


def cubes(y_true, y_pred):
    return (np.abs(y_pred - y_true) ** 3).mean(-1), 3 * np.square(y_pred - y_true) * np.sign(y_pred - y_true) / 2


def falling(step):
    return 0.1 / (1 + step)


@cell(gates="a", states="h")
def leaky(a, h):
    return 0.5 * h + 0.5 * tanh(a)


def d_sine(x, dy):
    return dy * np.cos(x)


sine = activations.ActivationFunction("sine", np.sin, d_sine, "input")


class Ramp(layers.initializers.Initializer):
    def __init__(self, slope=0.1):
        self.slope = slope

    def _values(self, shape, generator):
        return self.slope * np.arange(np.prod(shape)).reshape(shape)


class Penalty:
    """Not one of nblstm's classes, but with a config, as Keras's regularizers have it."""

    def __init__(self, factor=0.5):
        self.strength = factor

    def __call__(self, w):
        return self.strength * float(np.abs(w).sum())

    def gradient(self, w):
        return self.strength * np.sign(w)

    def get_config(self):
        return {"factor": self.strength}


class OwnScale(layers.Layer):
    supports_masking = True

    def __init__(self, by=2.0, **kwargs):
        super().__init__(**kwargs)
        self.by = by

    def _forward(self, x, training, mask, generator):
        return x * np.float32(self.by), None

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy * np.float32(self.by)


class Quartic(losses.Loss):
    def __init__(self, factor=1.0, reduction="sum_over_batch_size", name=None):
        super().__init__(reduction, name)
        self.factor = factor

    def rows(self, prediction, target):
        d = prediction - target
        return self.factor * (d**4).mean(-1), self.factor * 4 * d**3 / d.shape[-1]


class Within(metrics.Metric):
    direction = "max"

    def __init__(self, limit=1.0, name="within"):
        super().__init__(name)
        self.limit = limit

    def values(self, y_true, y_pred, mask=None):
        return (np.abs(y_true - y_pred) < self.limit).mean(axis=-1)


class Steps(schedules.LearningRateSchedule):
    def __init__(self, rate=0.1):
        self.rate = rate

    def __call__(self, step):
        return self.rate if step < 3 else self.rate / 10


class SignSGD(Optimizer):
    def __init__(self, modules=None, learning_rate=0.01):
        super().__init__(modules, learning_rate, None, None, None, None)

    def slot_names(self):
        return ("steps",)

    def update(self, p, g, slots, rate):
        slots["steps"] += 1
        p -= rate * np.sign(g)


OWN = {
    made.__name__: made
    for made in (thirds, halved, worst, cubes, falling, Ramp, Penalty, OwnScale, Quartic, Within, Steps, SignSGD)
} | {"leaky": leaky, "sine": sine}  # fmt: skip


def built(*stack, **compiled):
    model = Sequential([Input((4, 3)), *stack], seed=0)
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    return model


MODELS = {
    "functions": lambda: built(
        layers.LSTM(2, kernel_initializer=thirds, recurrent_constraint=halved), Activation(sine),
        optimizer=SGD(learning_rate=falling), loss=cubes, metrics=[worst],
    ),
    "objects": lambda: built(
        OwnScale(0.5), layers.GRU(3, kernel_initializer=Ramp(0.01), kernel_regularizer=Penalty(0.1)), Dense(2, sine),
        optimizer=SignSGD(learning_rate=0.02), loss=Quartic(2.0), metrics=[Within(0.3), Quartic(3.0)],
        weighted_metrics=[worst],
    ),
    "cells": lambda: built(
        Bidirectional(RNN(leaky, 3, return_sequences=True)), TimeDistributed(Dense(2, kernel_constraint=halved)),
        RNN(leaky, 2, vectors_initializer=thirds), optimizer=SGD(learning_rate=Steps(0.2)),
    ),
}  # fmt: skip


def goes_on_like(other, model):
    """Both predict, train and measure the same bits."""
    assert np.array_equal(other.predict(X, verbose=0), model.predict(X, verbose=0))
    logs = [m.fit(X, Y, epochs=3, batch_size=4, verbose=0).history for m in (model, other)]
    assert logs[0] == logs[1]
    assert all(map(np.array_equal, other.get_weights(), model.get_weights()))
    assert model.evaluate(X, Y, verbose=0) == other.evaluate(X, Y, verbose=0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_keep_the_objects(name, way):
    model = MODELS[name]()
    model.fit(X, Y, verbose=0)
    other = way(model)
    assert not np.shares_memory(other.layers[-2].flat_parameters(), model.layers[-2].flat_parameters())
    goes_on_like(other, model)


def test_copies_keep_what_has_no_name():
    factor = 0.5
    model = built(
        Dense(2, kernel_constraint=lambda w: factor * w, kernel_initializer=np.ones((3, 2))), layers.Flatten(),
        Dense(2, kernel_initializer=lambda shape, dtype: np.full(shape, factor)),
        loss=lambda y, p: (np.square(p - y).mean(-1), p - y), metrics=[lambda y, p: factor * np.abs(y - p)],
    )  # fmt: skip
    goes_on_like(copy.deepcopy(model), model)
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(model)
    clone = clone_model(model)
    assert clone.layers[0].kernel_constraint is model.layers[0].kernel_constraint
    assert np.array_equal(clone.get_weights()[0], np.ones((3, 2)))


def test_a_layer_with_a_config_of_its_own_is_copied_by_it():
    class Shift(OwnScale):
        def __init__(self, shift, **kwargs):
            super().__init__(**kwargs)
            self._shift = shift

        def get_config(self):
            return {"name": self.name, "shift": self._shift}

    assert copy.deepcopy(Shift(3, name="s"))._shift == 3

    class Forgetful(OwnScale):
        def __init__(self, shift, **kwargs):
            super().__init__(**kwargs)

    message_of(TypeError, lambda: copy.deepcopy(Forgetful(3)), "Forgetful has no attribute 'shift'", "under its name")


@pytest.mark.parametrize("name", MODELS)
def test_files_refer_to_them_by_name(name, tmp_path):
    model = MODELS[name]()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m")
    goes_on_like(load_model(tmp_path / "m", custom_objects=OWN), model)
    assert model_from_json(model.to_json(), OWN).to_json() == model.to_json()
    assert json.loads(model.to_json())["config"] == model.get_config()
    with utils.custom_object_scope(OWN):
        again = Sequential.load(tmp_path / "m")
    assert again.to_json() == model.to_json()


@pytest.mark.parametrize(
    ("name", "kind"), [("functions", "initializer named 'Custom>thirds'"), ("objects", "layer named 'Custom>OwnScale'"),
                       ("cells", "cell named 'Custom>leaky'")],
)  # fmt: skip
def test_a_name_that_stands_for_nothing(name, kind, tmp_path):
    MODELS[name]().save(tmp_path / "m")
    message = message_of_load(tmp_path / "m")
    assert f"there is no {kind}" in message
    assert "custom_objects" in message


@pytest.mark.parametrize(
    ("made", "kind"), [
        (lambda: compiled(Dense(2, kernel_initializer=thirds)), "the initializer"),
        (lambda: compiled(Dense(2, kernel_constraint=halved)), "the constraint"),
        (lambda: compiled(Dense(2), worst), "fn is"),
        (lambda: compiled(Dense(2), Within()), "the metric"),
    ],
)  # fmt: skip
def test_a_name_for_which_what_is_given_cannot_stand(made, kind, tmp_path):
    """The message names what was given, and does not ask for it again."""
    made().save(tmp_path / "m")
    given = dict.fromkeys(("thirds", "halved", "worst", "Within"), 3)
    message = message_of_load(tmp_path / "m", given)
    assert kind in message
    assert "stands for 3; give" in message


def compiled(layer, *measured):
    model = Sequential([Input((3,)), layer])
    model.compile("sgd", "mse", metrics=[*measured])
    return model


def message_of_load(path, custom_objects=None):
    with pytest.raises(ValueError, match="cannot be loaded: ") as caught:
        load_model(path, custom_objects)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def registered():
    """Undoes what a test registers."""
    before = dict(utils.get_custom_objects())
    yield utils.register_keras_serializable
    utils.get_custom_objects().clear()
    utils.get_custom_objects().update(before)


def test_what_is_registered_is_found(registered, tmp_path):
    for made in OWN.values():
        registered("Mine", getattr(made, "name", None))(made)
    for name, make in MODELS.items():
        model = make()
        model.fit(X, Y, verbose=0)
        model.save(tmp_path / name)
        goes_on_like(load_model(tmp_path / name), model)
    assert Dense(2, kernel_constraint="Mine>halved").kernel_constraint is halved
    assert Dense(2, "Mine>sine").activation is sine
    assert metrics.get("Mine>worst").name == "worst"
    assert type(losses.get("Mine>Quartic")) is Quartic
    registered()(Ramp)
    assert type(Dense(2, kernel_initializer="Ramp").kernel_initializer) is Ramp


def test_keras_names_for_it():
    for home in (nblstm.utils, nblstm.saving):
        assert home.custom_object_scope is utils.custom_object_scope
        assert home.get_custom_objects() is utils.get_custom_objects()
        assert home.register_keras_serializable is utils.register_keras_serializable
    assert nblstm.saving.load_model is load_model


def test_registering(registered):
    with pytest.raises(TypeError, match="package is 3; give a string"):
        registered(3)
    with pytest.raises(TypeError, match="has no name of its own; give one"):
        registered()(np.random.default_rng(0))
    registered("Mine")(halved)
    registered("Mine")(halved)
    with pytest.raises(ValueError, match="'Mine>halved' is registered already, for another"):
        registered("Mine", "halved")(worst)
    with pytest.raises(TypeError, match="custom_objects is 3; give a dict"):
        load_model("nothing", custom_objects=3)


def test_a_class_named_like_one_of_nblstms_is_not_taken_for_it(tmp_path):
    class MeanSquaredError(Quartic):
        pass

    model = built(layers.Flatten(), Dense(2), loss=MeanSquaredError())
    model.save(tmp_path / "m")
    assert "there is no loss named 'Custom>MeanSquaredError'" in message_of_load(tmp_path / "m")
    again = load_model(tmp_path / "m", {"MeanSquaredError": MeanSquaredError})
    assert type(again.loss) is MeanSquaredError
    assert type(built(layers.Flatten(), Dense(2), loss="MeanSquaredError").loss) is not MeanSquaredError


def test_a_checkpoint_says_before_the_first_epoch_that_a_model_cannot_be_saved(tmp_path):
    nameless = {
        "kernel_constraint is <lambda>, which cannot be saved": lambda: built(
            layers.Flatten(), Dense(2, kernel_constraint=lambda w: w)
        ),
        "a metric is <lambda>, which cannot be saved": lambda: built(
            layers.Flatten(), Dense(2), metrics=[lambda y, p: np.abs(y - p)]
        ),
        "the loss is <lambda>, which cannot be saved": lambda: built(
            layers.Flatten(), Dense(2), loss=lambda y, p: (np.square(p - y).mean(-1), p - y)
        ),
        "learning_rate is <lambda>, which cannot be saved": lambda: built(
            layers.Flatten(), Dense(2), optimizer=SGD(learning_rate=lambda step: 0.1)
        ),
    }
    for said, make in nameless.items():
        model = make()
        before = model.get_weights()
        message = message_of(
            TypeError,
            lambda model=model: model.fit(X, Y, verbose=0, callbacks=[callbacks.ModelCheckpoint(tmp_path / "m")]),
            said,
            "or let ModelCheckpoint have save_weights_only=True",
        )
        assert "include_optimizer" not in message  # which is an argument of save
        assert all(map(np.array_equal, model.get_weights(), before))
        alone = callbacks.ModelCheckpoint(tmp_path / "w", save_weights_only=True)
        model.fit(X, Y, verbose=0, callbacks=[alone])
        assert (tmp_path / "w").exists()
    assert not (tmp_path / "m").exists()


class Dense3(Dense):
    """Named like one of nblstm's in a scope."""


def test_custom_objects_go_before_what_is_registered(registered, tmp_path):
    """For each kind: a name that is registered, and one of nblstm's, stand for what the scope has."""

    @layers.register()
    class Mine(OwnScale):
        pass

    layers.register_cell(leaky, "mine")
    registered("Mine", "loss")(Quartic)

    @cell(gates="a", states="h")
    def other(a, h):
        return tanh(a)

    class Other(Mine):
        pass

    class OtherLoss(Quartic):
        pass

    model = built(Mine(2.0), RNN("mine", 2), loss="Mine>loss")
    model.save(tmp_path / "m")
    again = load_model(tmp_path / "m", {"Mine": Other, "mine": other, "loss": OtherLoss})
    assert [type(again.layers[0]), again.layers[1].cell, type(again.loss)] == [Other, other, OtherLoss]
    again = load_model(tmp_path / "m")
    assert [type(again.layers[0]), again.layers[1].cell, type(again.loss)] == [Mine, leaky, Quartic]

    class Zeros(Ramp):
        pass

    scope = {
        "lstm": leaky, "relu": sine, "mse": Quartic, "mae": Within, "adam": SignSGD, "SGD": SignSGD, "Accuracy": Within,
        "CosineDecay": Steps, "zeros": Zeros, "l2": Penalty, "non_neg": halved, "Dense": Dense3,
    }  # fmt: skip
    named = {
        "lstm": lambda: RNN("lstm", 2).cell, "relu": lambda: activations.get("relu"),
        "mse": lambda: type(losses.get("mse")), "mae": lambda: type(metrics.get("mae")),
        "adam": lambda: type(nblstm.optimizers.get("adam")), "SGD": lambda: type(nblstm.optimizers.get("SGD")),
        "Accuracy": lambda: type(metrics.get("Accuracy")),
        "CosineDecay": lambda: type(schedules.get({"class_name": "CosineDecay"})),
        "zeros": lambda: type(layers.initializers.get("zeros")), "l2": lambda: type(layers.regularizers.get("l2")),
        "non_neg": lambda: layers.constraints.get("non_neg"),
        "Dense": lambda: type(layers.deserialize({"class_name": "Dense", "config": {"units": 2}})),
    }  # fmt: skip
    for name, found in named.items():
        with utils.custom_object_scope({name: scope[name]}):
            assert found() is scope[name], name
        if name != "CosineDecay":  # which needs arguments
            assert found() is not scope[name], name


def test_what_is_registered_does_not_replace_one_of_nblstms(registered):
    """A cell called like a loss or an initializer is found as a cell, and the other stays what it is."""
    assert layers.register_cell(leaky, "zeros") is leaky
    assert layers.register_cell(leaky, "mse") is leaky
    assert RNN("zeros", 2).cell is leaky
    assert type(layers.initializers.get("zeros")) is layers.initializers.Zeros
    assert type(losses.get("mse")) is losses.MeanSquaredError


@pytest.mark.parametrize("kind", ["layer", "cell", "function", "activation"])
def test_what_is_defined_once_more_replaces_the_one_before(registered, kind):
    """As when a notebook's cell is run twice."""

    def define():
        if kind == "layer":

            @layers.register("again_too")
            class Again(OwnScale):
                pass

            return Again
        if kind == "cell":

            @layers.register_cell
            @cell(gates="a", states="h")
            def again(a, h):
                return tanh(a) + h / 2

            return again
        if kind == "activation":
            return registered("Mine")(activations.ActivationFunction("again", np.sin, d_sine, "input"))

        @registered("Mine")
        def again(w):
            return w

        return again

    find = {
        "layer": lambda: type(layers.deserialize({"class_name": "Again"})), "cell": lambda: RNN("again", 2).cell,
        "function": lambda: layers.constraints.get("Mine>again"), "activation": lambda: activations.get("Mine>again"),
    }[kind]  # fmt: skip
    first = define()
    assert find() is first
    second = define()
    assert find() is second is not first


@pytest.mark.parametrize("way", ["registered", "not registered"])
def test_what_to_do_about_a_name_that_is_not_found(registered, way):
    """Cells and layers name what registers them, and custom_objects."""
    if way == "registered":
        layers.register_cell(leaky)
        layers.register()(OwnScale)
    for layer, kind, name, by in ((RNN(leaky, 2), "cell", "leaky", "register_cell"),
                                  (OwnScale(), "layer", "OwnScale", "layers.register")):  # fmt: skip
        described = built(layer, layers.Flatten(), Dense(2)).to_json()
        before = dict(utils.get_custom_objects())
        utils.get_custom_objects().clear()
        hint = [f"custom_objects={{'{name}': ...}}"] if way == "not registered" else []
        message_of(
            ValueError, lambda described=described: model_from_json(described), f"there is no {kind} named ", name, by,
            *hint,
        )  # fmt: skip
        utils.get_custom_objects().update(before)


def test_a_cell_is_registered_as_all_else_is(registered, tmp_path):
    assert registered("Mine")(leaky) is leaky
    built(RNN(leaky, 2)).save(tmp_path / "m")
    assert load_model(tmp_path / "m").layers[0].cell is leaky


def test_saving_without_what_cannot_be_saved(tmp_path):
    model = built(layers.Flatten(), Dense(2), metrics=[lambda y, p: np.abs(y - p)])
    message_of(TypeError, lambda: model.save(tmp_path / "m"), "a metric is <lambda>", "include_optimizer=False")
    model.save(tmp_path / "m", include_optimizer=False)
    assert np.array_equal(load_model(tmp_path / "m").predict(X, verbose=0), model.predict(X, verbose=0))
    model = built(layers.Flatten(), Dense(2, kernel_constraint=lambda w: w))
    assert "include_optimizer" not in message_of(TypeError, lambda: model.save(tmp_path / "m"), "kernel_constraint")


def leaking(rate):
    @cell(gates="a", states="h")
    def leaking(a, h):
        return (1 - rate) * h + rate * tanh(a)

    return leaking


def power(number):
    return activations.ActivationFunction("power", scalar=lambda x: x**number)


def scaled(factor):
    def halved(w):
        return factor * w

    return halved


@pytest.mark.parametrize("make", [
    lambda: built(Dense(2, power(2)), Dense(2, power(3))),
    lambda: built(RNN(leaking(0.1), 2, return_sequences=True), RNN(leaking(0.2), 2)),
    lambda: built(Dense(2, kernel_constraint=halved, bias_constraint=scaled(0.25))),
    lambda: built(Dense(2, kernel_constraint=scaled(0.25)), optimizer=SGD(learning_rate=scaled(0.5))),
], ids=["activations", "cells", "functions", "optimizer"])  # fmt: skip
def test_a_name_does_not_stand_for_two_objects_of_a_file(make, tmp_path):
    model = make()
    said = "two objects of your own with one name, 'Custom>", "give each its own name"
    message_of(ValueError, lambda: model.save(tmp_path / "m"), *said)
    message_of(ValueError, model.need_savable, *said)
    assert not (tmp_path / "m").exists()


def test_equal_cells_and_activations_are_one_to_a_file(tmp_path):
    model = built(
        RNN(leaking(0.1), 2, return_sequences=True), RNN(leaking(0.1), 2), Dense(2, power(2)), Dense(2, power(2))
    )
    model.save(tmp_path / "m")
    again = load_model(tmp_path / "m", {"leaking": leaking(0.1), "power": power(2)})
    goes_on_like(again, model)
    built(Dense(2, power(3))).save(tmp_path / "m")  # another file


def test_registered_names_tell_cells_of_a_factory_apart(registered, tmp_path):
    slow, fast = (layers.register_cell(leaking(rate), f"leaking_{rate}") for rate in (0.1, 0.9))
    model = built(RNN(slow, 2, return_sequences=True), RNN(fast, 2))
    model.save(tmp_path / "m")
    goes_on_like(load_model(tmp_path / "m"), model)
