"""Parameters that no gradient trains, as the moving averages of BatchNormalization, in all that training does."""

import copy
import pickle

import numpy as np
import pytest
from tolerances import OUTPUT, assert_close

from nblstm import Sequential, layers, optimizers
from nblstm.initializers import Zeros
from nblstm.layers import (
    GRU,
    BatchNormalization,
    Dense,
    Embedding,
    Input,
    Layer,
    Normalization,
    Parameter,
    TimeDistributed,
    register,
)
from nblstm.training import BackupAndRestore, Callback
from nblstm.training.optimizers import Optimizer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(1, 2, (20, 5, 3)).astype("float32"), RNG.normal(size=(20, 5, 1)).astype("float32")


def model_of(*made, optimizer="adam", seed=0, **given):
    made = made or (BatchNormalization(), GRU(4, return_sequences=True), BatchNormalization(momentum=0.5), Dense(1))
    model = Sequential([Input((None, 3)), *made], seed=seed)
    model.compile(optimizer, "mse", **given)
    return model


def fit(model, epochs=2, **given):
    model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0, **given)
    return model


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def averages(model):
    return [w.copy() for w in model.non_trainable_weights]


# --- what counts as trained ------------------------------------------------------------------------------------------


def test_names_counts_and_order():
    layer = BatchNormalization()
    layer.build((None, 3))
    assert list(layer.state_dict()) == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [w.tolist() for w in layer.get_weights()] == [[1] * 3, [0] * 3, [0] * 3, [1] * 3]
    assert [w.tolist() for w in layer.trainable_weights] == [[1] * 3, [0] * 3]
    assert [w.tolist() for w in layer.non_trainable_weights] == [[0] * 3, [1] * 3]
    assert layer.count_params() == 12
    layer.trainable = False
    assert not layer.trainable_weights
    assert len(layer.non_trainable_weights) == 4
    plain = BatchNormalization(center=False, scale=False)
    plain.build((None, 3))
    assert list(plain.state_dict()) == ["moving_mean", "moving_variance"]


def test_a_summary_tells_them_apart():
    text = []
    model = model_of(Normalization(), BatchNormalization(), TimeDistributed(BatchNormalization()), Dense(1))
    model.summary(print_fn=text.append)
    assert "Total params: 35 " in text[0]
    assert "Trainable params: 16\n" in text[0]
    assert "Non-trainable params: 19" in text[0]
    assert [len(w) for w in (model.weights, model.trainable_weights, model.non_trainable_weights)] == [13, 6, 7]


@pytest.mark.parametrize("optimizer", [
    optimizers.AdamW(0.1, weight_decay=0.5), optimizers.SGD(0.1, momentum=0.9, weight_decay=0.5),
    optimizers.RMSprop(0.1, global_clipnorm=1e-3), optimizers.Adam(0.1, clipnorm=0.1), optimizers.Adam(clipvalue=0.1),
])  # fmt: skip
def test_optimizers_pass_them_over(optimizer):
    """They are what the batches alone make of them, whatever the optimizer."""
    model = model_of(BatchNormalization(momentum=0.75), Dense(1), optimizer=optimizer)
    mean, variance = np.zeros(3), np.ones(3)
    for start in (0, 8, 16):
        batch = X[start : start + 8]
        model.train_on_batch(batch, Y[start : start + 8])
        mean = 0.75 * mean + 0.25 * batch.mean(axis=(0, 1), dtype="float64")
        variance = 0.75 * variance + 0.25 * batch.var(axis=(0, 1), dtype="float64")
    assert_close(averages(model)[0], mean, OUTPUT["float32"])
    assert_close(averages(model)[1], variance, OUTPUT["float32"])
    slots = [slot for name, slot in optimizer.state().items() if name.endswith("/0")]
    assert all(slot[:6].any() and not slot[6:].any() for slot in slots)


def test_an_optimizer_of_arrays_passes_them_over():
    class Signs(Optimizer):
        def __init__(self, modules=None, learning_rate=0.1, weight_decay=0.5):
            super().__init__(modules, learning_rate, weight_decay, None, None, None)

        def slot_names(self):
            return ("steps",)

        def update(self, p, g, slots, rate):
            slots["steps"] += 1
            p -= rate * np.sign(g)

    layer = BatchNormalization()
    layer.build((None, 3))
    optimizer = Signs([layer])
    y, tape = layer.forward(X, training=True)
    _, gradients = layer.backward(tape, Y + 0 * y)
    before = layer.get_weights()
    optimizer.step([gradients])
    after = layer.get_weights()
    assert_close(after[0], before[0] * np.float32(0.95) - 0.1 * np.sign(gradients.params["gamma"]), OUTPUT["float32"])
    assert_close(after[2], 0.01 * X.mean(axis=(0, 1), dtype="float64"), OUTPUT["float32"])
    assert optimizer.state()["steps/0"].tolist() == [1] * 6 + [0] * 6


def test_a_loop_of_ones_own():
    """The optimizer's step moves the averages; a pass without one does not."""
    layer, head = BatchNormalization(momentum=0.5), Dense(1)
    for each, shape in ((layer, (None, None, 3)), (head, (None, None, 3))):
        each.build(shape, np.random.default_rng(0))
    optimizer = optimizers.SGD([layer, head], 0.1)
    h, tape = layer.forward(X, training=True)
    assert layer.get_weights()[2].tolist() == [0] * 3
    y, head_tape = head.forward(h)
    dh, d_head = head.backward(head_tape, y - Y)
    _, d_layer = layer.backward(tape, dh)
    optimizer.step([d_layer, d_head])
    assert_close(layer.get_weights()[2], 0.5 * X.mean(axis=(0, 1), dtype="float64"), OUTPUT["float32"])
    after = layer.get_weights()
    optimizer.step([d_layer, d_head])
    assert_same(layer.get_weights()[2:], after[2:])


def test_a_layer_that_is_called_twice_counts_both_passes():
    @register()
    class CalledTwice(Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.norm = self.hold(BatchNormalization(momentum=0.5), "norm_")

        def _forward(self, x, training, mask, generator):
            first, one = self.norm.forward(x, training=training)
            second, two = self.norm.forward(x * x, training=training)
            return first + second, (x, one, two)

        def _backward(self, saved, dy, gradients, input_gradient):
            x, one, two = saved
            dx, _ = self.norm.backward(one, dy, into=gradients[self.norm])
            d_square, more = self.norm.backward(two, dy)
            gradients[self.norm].flat += more.flat
            return dx + 2 * x * d_square

    model = model_of(CalledTwice(), Dense(1))
    model.train_on_batch(X, Y)
    wide = X.astype("float64")
    expected = 0.25 * wide.mean(axis=(0, 1)) + 0.5 * np.square(wide).mean(axis=(0, 1))
    assert_close(averages(model)[0], expected, OUTPUT["float32"])


def test_a_parameter_of_ones_own():
    @register()
    class Counting(Layer):
        """Counts the steps of training."""

        def _parameters_for(self, shape):
            return {"scale": Parameter((), Zeros()), "steps": Parameter((), Zeros(), trainable=False)}

        def _forward(self, x, training, mask, generator):
            self.measured = training or None
            return x * (1 + self._own["scale"]), x

        def _backward(self, saved, dy, gradients, input_gradient):
            gradients["scale"][...] = (dy * saved).sum()
            return dy * (1 + self._own["scale"])

        def after_step(self):
            if self.measured:
                self._own["steps"][...] += 1

    model = fit(model_of(Counting(), Dense(1)))
    assert averages(model) == [6]
    with pytest.raises(ValueError, match="trainable=False has a regularizer, which changes nothing; leave it out"):
        Parameter((), Zeros(), layers.regularizers.get("l2"), trainable=False)


# --- training ----------------------------------------------------------------------------------------------------


def test_a_frozen_layer_is_in_inference_mode():
    frozen = BatchNormalization(trainable=False, moving_mean_initializer="ones")
    model = fit(model_of(frozen, Dense(1)))
    assert_same(frozen.get_weights(), [np.ones(3), np.zeros(3), np.ones(3), np.ones(3)])
    assert_same([model(X, training=True)], [model.predict(X, verbose=0)])
    model.trainable = True
    fit(model)
    assert all((w != 1).all() for w in averages(model))


def test_a_call_in_training_mode_changes_nothing():
    model = model_of()
    before = model.get_weights()
    first, second = model(X, training=True), model(X, training=True)
    assert_same([first], [second])
    assert_same(model.get_weights(), before)
    other = model_of()
    other.set_weights(before)
    assert_same(fit(model).get_weights(), fit(other).get_weights())


def test_only_averages_to_train():
    """They move though no gradient reaches the layer, and a layer of numbers that stay needs no pass back."""
    plain = BatchNormalization(center=False, scale=False, momentum=0.5)
    model = model_of(plain, Dense(1))
    model.train_on_batch(X, Y)
    assert_close(plain.get_weights()[0], 0.5 * X.mean(axis=(0, 1), dtype="float64"), OUTPUT["float32"])
    with pytest.raises(ValueError, match="no layer has parameters, so there is nothing to train"):
        model_of(Normalization(), layers.Flatten()).train_on_batch(X, Y)


@pytest.mark.parametrize("where", ["loss", "backward", "rate"])
@pytest.mark.parametrize("copied", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_step_that_fails_changes_nothing(where, copied, monkeypatch):
    model = model_of(TimeDistributed(BatchNormalization()), GRU(4, return_sequences=True), Dense(1))
    model.train_on_batch(X, Y)
    model, other = copied(model), copy.deepcopy(model)
    for each in (model, other):
        each.train_on_batch(X[:8], Y[:8])
    before = model.get_weights()

    def fail(*arguments, **named):
        raise ArithmeticError("on purpose")

    with monkeypatch.context() as patch:
        if where == "loss":
            patch.setattr(model.objective.loss, "value_and_gradient", fail)
        elif where == "backward":
            patch.setattr(model.layers[1], "backward", fail)
        else:
            patch.setattr(model.optimizer, "_learning_rate", fail)
        with pytest.raises(ArithmeticError, match="on purpose"):
            model.train_on_batch(X[8:], Y[8:])
    assert_same(model.get_weights(), before)
    for each in (model, other):
        each.train_on_batch(X[4:12], Y[4:12])
    assert_same(model.get_weights(), other.get_weights())


def test_truncated_backpropagation():
    """Each chunk is a step, with mean and variance of its own."""
    model = model_of(
        BatchNormalization(momentum=0.5), GRU(4, return_sequences=True), Dense(1), bptt_steps=2, optimizer="sgd"
    )
    model.train_on_batch(X, Y)
    wide, mean = X.astype("float64"), 0
    for start in (0, 2, 4):
        mean = 0.5 * mean + 0.5 * wide[:, start : start + 2].mean(axis=(0, 1))
    assert_close(averages(model)[0], mean, OUTPUT["float32"])
    with pytest.raises(ValueError, match="bptt_steps needs layers whose output at a step"):
        Sequential([Input((5, 3)), BatchNormalization(1)]).compile("sgd", "mse", bptt_steps=2)


def test_masked_steps_do_not_count():
    words = np.array([[1, 2, 0, 0], [3, 1, 2, 0]])
    results = []
    for padded in (0, 9):
        model = Sequential([Input((None,)), Embedding(10, 3, mask_zero=True), BatchNormalization(), Dense(1)], seed=0)
        table = model.layers[0].get_weights()[0]
        table[0] = padded
        model.layers[0].set_weights([table])
        model.compile("sgd", "mse")
        model.train_on_batch(words, np.ones((2, 4, 1)))
        results.append(averages(model))
    assert_same(*results)
    rows = table[words][words > 0]
    assert_close(results[0][0], 0.01 * rows.mean(axis=0, dtype="float64"), OUTPUT["float32"])
    steps = TimeDistributed(BatchNormalization())
    y, _ = steps.forward(table[words], training=True, mask=words > 0)
    steps.after_step()
    assert_same(steps.get_weights()[2:], results[0])
    assert_same([y], [BatchNormalization().forward(table[words], training=True, mask=words > 0)[0]])


def test_a_batch_of_nothing():
    layer = BatchNormalization()
    y, tape = layer.forward(np.zeros((0, 4, 3)), training=True)
    dx, gradients = layer.backward(tape, y)
    assert dx.shape == (0, 4, 3)
    assert not gradients.flat.any()
    layer.after_step()
    assert layer.get_weights()[3].tolist() == [1] * 3


# --- files, copies, resuming -----------------------------------------------------------------------------------------


def test_a_loaded_model_goes_on_to_the_same_bits(tmp_path):
    model = fit(model_of())
    model.save(tmp_path / "m.nblstm")
    again = Sequential.load(tmp_path / "m.nblstm")
    assert_same(again.get_weights(), model.get_weights())
    assert_same([again.predict(X, verbose=0)], [model.predict(X, verbose=0)])
    assert_same(fit(again).get_weights(), fit(model).get_weights())
    model.save_weights(tmp_path / "w.nblstm")
    other = model_of(seed=1)
    other.load_weights(tmp_path / "w.nblstm")
    assert_same(other.get_weights(), model.get_weights())


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path):
    whole = fit(model_of(), 4, callbacks=[BackupAndRestore(tmp_path / "a", save_freq=1)])

    class Killed(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == self.at:
                raise SystemExit

    killed, survivor = Killed(), Killed()
    killed.at, survivor.at = 8, None
    with pytest.raises(SystemExit):
        fit(model_of(), 4, callbacks=[BackupAndRestore(tmp_path / "b", save_freq=1), killed])
    resumed = model_of(seed=3)
    fit(resumed, 4, callbacks=[BackupAndRestore(tmp_path / "b", save_freq=1), survivor])
    assert_same(resumed.get_weights(), whole.get_weights())


def test_a_state_has_them():
    model = fit(model_of())
    state = model.state()
    after = fit(model).get_weights()
    model.load_state(state)
    assert_same(fit(model).get_weights(), after)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_have_their_own(copied):
    model = fit(model_of())
    before = model.get_weights()
    other = copied(model)
    fit(other)
    assert_same(model.get_weights(), before)
    assert_same(fit(model).get_weights(), other.get_weights())
    layer = copied(model.layers[2])
    assert_same(layer.get_weights(), model.layers[2].get_weights())


def test_threads_predict_with_the_averages_of_one_moment():
    """What inference derives from the parameters is made anew where one of them is set."""
    model = model_of(BatchNormalization(), Dense(1))
    first = model.predict(X, verbose=0)
    weights = model.get_weights()
    weights[2] = weights[2] + 1
    model.set_weights(weights)
    assert (model.predict(X, verbose=0) != first).any()
    model.layers[0].parameters()["moving_mean"][...] = 0
    assert_same([model.predict(X, verbose=0)], [first])
    fit(model, 1)
    assert (model.predict(X, verbose=0) != first).any()


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: BatchNormalization(synchronized=True), ValueError, "synchronized is True, which nblstm does not"),
        (lambda: BatchNormalization(renorm=True), ValueError, "renorm is True, which nblstm does not support"),
        (lambda: BatchNormalization(momentum=1.5), ValueError, "momentum is 1.5; give a number, 0 or more and at most"),
        (lambda: BatchNormalization([1]), TypeError, r"axis is \[1\]; give a whole number"),
        (lambda: BatchNormalization(0).build((None, 3)), ValueError, "has axis 0 and an input of 2 dimensions; give"),
        (lambda: BatchNormalization(-3).build((None, 3)), ValueError, "axis -3 and .* from 1 to 1, or negative"),
        (lambda: BatchNormalization(1).build((None, None, 3)), ValueError, "give a size of 1 or more in dimension 1"),
    ],
)
def test_errors(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_another_number_of_features():
    layer = BatchNormalization()
    layer(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"got x of shape \(2, 4\); it was built for \(None, 3\), so give 3"):
        layer(np.zeros((2, 4)))
