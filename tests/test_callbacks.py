"""Callbacks in a fit, its history, and what it shows; what they decide is in test_models_golden.py."""

import copy
import csv
import re
import threading

import numpy as np
import pytest
from messages import message_of
from processes import run_python

from nblstm.layers import LSTM, Dense, Input
from nblstm.models import Sequential, load_model
from nblstm.training import SGD, Adam, callbacks, metrics
from nblstm.training.optimizers import schedules

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3))
Y = X.sum(axis=1, keepdims=True)


def model(optimizer="adam", metrics=("mae",)):
    made = Sequential([Dense(4, "relu"), Dense(1)], seed=0)
    made.compile(optimizer, "mse", metrics=list(metrics))
    return made


def fit(*given, epochs=3, of=None, **more):
    return (of or model()).fit(X, Y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(given), **more)


def test_all_events_in_their_order():
    events = []

    class Recorder(callbacks.Callback):
        def __getattribute__(self, name):
            if name.startswith("on_") and name not in ("on_batch_begin", "on_batch_end"):
                return lambda *arguments: events.append((name, *(a for a in arguments if isinstance(a, int))))
            return super().__getattribute__(name)

    recorder = Recorder()
    trained = model()
    fit(recorder, of=trained, epochs=1, validation_data=(X[:3], Y[:3]))
    batches = [event for k in range(3) for event in (("on_train_batch_begin", k), ("on_train_batch_end", k))]
    test = [("on_test_begin",), ("on_test_batch_begin", 0), ("on_test_batch_end", 0), ("on_test_end",)]
    epoch = [("on_epoch_begin", 0), *batches, *test, ("on_epoch_end", 0)]
    assert events == [("on_train_begin",), *epoch, ("on_train_end",)]
    events.clear()
    trained.predict(X[:3], callbacks=[recorder])
    predict = [("on_predict_batch_begin", 0), ("on_predict_batch_end", 0)]
    assert events == [("on_predict_begin",), *predict, ("on_predict_end",)]
    assert recorder.model is trained
    assert recorder.params["steps"] == 1


def test_logs_of_batches_are_those_of_the_epoch_so_far():
    seen = []
    tell = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs))
    history = fit(tell, epochs=1)
    assert len(seen) == 3
    assert {name: [value] for name, value in seen[-1].items()} == history.history
    assert seen[0] != seen[-1]


def test_a_callback_does_not_compile_within_an_epoch():
    """At its beginning and end it may: each epoch is measured by what is compiled then."""
    for event in ("on_train_batch_end", "on_train_batch_begin"):
        trained = model()
        compiling = callbacks.LambdaCallback(**{event: lambda batch, logs, m=trained: m.compile("sgd", "mse")})
        said = "a callback compiled the model behind batch 1 of an epoch", "call compile() in on_epoch_begin or"
        message_of(RuntimeError, lambda c=compiling, m=trained: fit(c, of=m), *said)
    for event in ("on_epoch_begin", "on_epoch_end"):
        trained = model(metrics=())
        compiling = callbacks.LambdaCallback(**{event: lambda epoch, logs, m=trained: m.compile("sgd", "mse")})
        assert all(loss > 0 for loss in fit(compiling, of=trained, epochs=2).history["loss"])


def test_a_metric_named_loss_leaves_the_loss():
    trained = model("sgd", [metrics.MeanAbsoluteError(name="loss")])
    history = fit(of=trained, epochs=1, validation_data=(X, Y)).history
    assert list(history) == ["loss", "loss_1", "val_loss", "val_loss_1"]
    errors = Y - trained.predict(X, verbose=0)
    assert history["val_loss"] == [pytest.approx((errors**2).mean())]
    assert history["val_loss_1"] == [pytest.approx(np.abs(errors).mean())]


def test_a_callback_stops_the_fit_within_an_epoch():
    class Stop(callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    history = fit(Stop(), epochs=5)
    assert history.epoch == [0]


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    history = fit(callbacks.CSVLogger(path), callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2))
    fit(callbacks.CSVLogger(path, append=True), epochs=5, initial_epoch=3)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "loss", "mae"]
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert [float(row["loss"]) for row in rows[:3]] == history.history["loss"]
    fit(callbacks.CSVLogger(path, separator=";"), epochs=2, validation_split=0.2, validation_freq=2)
    rows = list(csv.DictReader(path.read_text().splitlines(), delimiter=";"))
    assert list(rows[0]) == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert rows[0]["val_loss"] == "NA" != rows[1]["val_loss"]


def test_csv_logger_looks_for_its_folder_first(tmp_path):
    trained = model()
    trained.build((None, 3))
    before = trained.get_weights()
    message_of(FileNotFoundError, lambda: fit(callbacks.CSVLogger(tmp_path / "a/b"), of=trained), "there is no folder")
    assert all(map(np.array_equal, trained.get_weights(), before))


def test_model_checkpoint(tmp_path):
    trained = model()
    every = callbacks.ModelCheckpoint(tmp_path / "a/{epoch:02d}-{loss:.1f}.nblstm")
    batches = callbacks.ModelCheckpoint(tmp_path / "b/{epoch}-{batch}", save_freq=2, save_weights_only=True)
    history = fit(every, batches, of=trained)
    losses = history.history["loss"]
    assert {p.name for p in (tmp_path / "a").iterdir()} == {f"{k:02d}-{v:.1f}.nblstm" for k, v in enumerate(losses, 1)}
    assert {p.name for p in (tmp_path / "b").iterdir()} == {"1-2", "2-1", "2-3", "3-2"}
    last = load_model(next((tmp_path / "a").glob("03*")))
    assert np.array_equal(last.predict(X), trained.predict(X))
    message_of(
        ValueError,
        lambda: fit(callbacks.ModelCheckpoint("{acc}")),
        "filepath '{acc}' has the field 'acc'; there are epoch, loss",
    )
    message_of(
        ValueError, lambda: fit(callbacks.ModelCheckpoint("{loss:d}")), "filepath '{loss:d}' has a field that does not",
        "its format one of numbers, such as {epoch:02d}",
    )  # fmt: skip


def test_learning_rates():
    trained = model(SGD(0.1))
    halved = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    assert fit(halved, of=trained).history["learning_rate"] == [0.05, 0.025, 0.0125]
    tenth = callbacks.LearningRateScheduler(lambda epoch: 0.1 / (1 + epoch))
    assert fit(tenth, of=trained).history["learning_rate"] == [0.1, 0.1 / 2, 0.1 / 3]
    plateau = callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=100.0, factor=0.5)
    assert fit(plateau, of=model(SGD(0.1))).history["learning_rate"] == [0.1, 0.1, 0.05]
    scheduled = model(Adam(schedules.ExponentialDecay(0.1, 10, 0.5)))
    message_of(TypeError, lambda: fit(halved, of=scheduled), "the learning rate follows a schedule")
    message_of(TypeError, lambda: fit(plateau, of=scheduled), "the learning rate follows a schedule")
    assert scheduled.optimizer.iterations == 0
    wrong = callbacks.LearningRateScheduler(lambda epoch, rate: -1)
    message_of(ValueError, lambda: fit(wrong), "the learning rate that schedule gives is -1")


def test_terminate_on_nan(capsys):
    with np.errstate(all="ignore"):
        assert fit(callbacks.TerminateOnNaN(), of=model(SGD(1e20)), epochs=9).epoch == [0]
        assert "the loss is" in capsys.readouterr().out
        message_of(
            RuntimeError, lambda: fit(callbacks.TerminateOnNaN(raise_error=True), of=model(SGD(1e20)), epochs=9),
            "lower the learning rate",
        )  # fmt: skip


def test_early_stopping_says_what_it_does(capsys):
    stop = callbacks.EarlyStopping("loss", patience=1, min_delta=100, restore_best_weights=True, verbose=1)
    trained = model()
    history = fit(stop, of=trained, epochs=9)
    assert history.epoch == [0, 1]
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 2: early stopping", "Restoring model weights from the end of the best epoch: 1.",
    ]  # fmt: skip
    assert trained.evaluate(X, Y, verbose=0)[0] > 0
    with pytest.warns(UserWarning, match="monitors 'val_loss', which is not among loss, mae") as caught:
        fit(callbacks.EarlyStopping(), epochs=1)
    assert caught[0].filename == __file__
    up = callbacks.EarlyStopping("mae")
    fit(up, epochs=2)
    message_of(
        ValueError, lambda: fit(callbacks.EarlyStopping("f"), of=model(metrics=[f]), epochs=1),
        "cannot tell whether more or less of 'f' is better; give mode='max' or mode='min'",
    )  # fmt: skip


def f(y_true, y_pred):
    return np.abs(y_true - y_pred)[:, 0]


def test_arguments():
    message_of(ValueError, lambda: callbacks.EarlyStopping(mode="up"), "mode is 'up'; give one of auto, min")
    message_of(ValueError, lambda: callbacks.EarlyStopping(mode="minimum"), "mode is 'minimum' (did you mean 'min'?)")
    message_of(TypeError, lambda: callbacks.EarlyStopping(patience=1.5), "patience is 1.5")
    message_of(ValueError, lambda: callbacks.ReduceLROnPlateau(factor=1), "factor is 1; give a number")
    message_of(
        ValueError, lambda: callbacks.ModelCheckpoint("m", save_freq=0), "save_freq is 0; give 'epoch', or a number"
    )
    message_of(
        TypeError, lambda: callbacks.BackupAndRestore("m", "batch"), "save_freq is 'batch' of type str; give 'ep"
    )
    message_of(ValueError, lambda: callbacks.BackupAndRestore(""), "backup_dir is ''; give a path")
    message_of(TypeError, lambda: callbacks.ModelCheckpoint(3), "filepath is 3 of type int; give a path")
    message_of(TypeError, lambda: callbacks.LambdaCallback(on_epoch=print), "a fit has no 'on_epoch'", "did you mean")
    message_of(TypeError, lambda: callbacks.LambdaCallback(on_epoch_end=3), "on_epoch_end is 3; give a function")
    message_of(TypeError, lambda: callbacks.LearningRateScheduler(0.1), "schedule is 0.1; give a function")
    message_of(ValueError, lambda: callbacks.CSVLogger("log", separator=", "), "separator is ', '; give one character")
    message_of(TypeError, lambda: fit("early"), "callbacks has 'early'; give objects of nblstm.training.Callback")
    message_of(TypeError, lambda: model().fit(X, Y, callbacks=3), "callbacks is 3; give a list of objects")


# --- history ------------------------------------------------------------------------------------


def test_history_of_some_validations():
    history = fit(epochs=5, initial_epoch=1, validation_split=0.2, validation_freq=2)
    assert history.epoch == [1, 2, 3, 4]
    assert {name: len(values) for name, values in history.history.items()} == {
        "loss": 4, "mae": 4, "val_loss": 2, "val_mae": 2,
    }  # fmt: skip
    assert len(fit(epochs=5, validation_split=0.2, validation_freq=[1, 5]).history["val_loss"]) == 2
    again = callbacks.History()
    again.load_state(history.state())
    assert again.state() == history.state()


def test_history_in_a_notebook():
    history = callbacks.History()
    for epoch, loss in enumerate((3.0, 1.0, 2.0)):
        history.on_epoch_end(epoch, {"loss": loss, "a<b": 0.5, "each": np.ones(2)})
    shown = history._repr_html_()
    assert shown.startswith("<div>3 epochs<table>")
    [row] = re.findall(r"<tr><th>loss</th>(.*?)</tr>", shown)
    assert re.findall(r">([\d.]+)<", row) == ["3", "1", "3", "2"]
    assert "a&lt;b" in shown
    assert "each" not in shown  # it has several values in each epoch
    assert callbacks.History()._repr_html_().startswith("<div>0 epochs")


def test_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    history = fit(epochs=5, validation_split=0.2, validation_freq=2)
    loss = history.plot("loss")
    assert [line.get_label() for line in loss.lines] == ["loss", "val_loss"]
    assert list(loss.lines[1].get_xdata()) == [2, 4]
    assert loss.lines[0].get_color() == loss.lines[1].get_color()
    for epochs in (2, 3, 5, 300):
        loss.set_xlim(1, epochs)
        assert all(tick == int(tick) for tick in loss.get_xticks())  # there is no epoch 1.25
    axes = history.plot()
    assert axes.figure is not loss.figure
    assert [line.get_label() for line in axes.lines] == ["loss", "val_loss", "mae", "val_mae"]
    assert history.plot(metrics=["mae"], ax=loss) is loss
    assert len(loss.lines) == 4
    matplotlib.pyplot.close("all")
    message_of(TypeError, lambda: history.plot(3), "metrics is 3 of type int; give a name, such as 'loss', or several")
    message_of(ValueError, lambda: history.plot([["mae"]]), "['mae'] is not in the history, which has loss, mae")
    message_of(
        TypeError, lambda: history.plot(ax=4), "ax is 4 of type int; give an Axes of matplotlib's, such as pyplot"
    )
    assert not matplotlib.pyplot.get_fignums()
    message_of(ValueError, lambda: history.plot(["acc"]), "'acc' is not in the history, which has loss, mae")
    message_of(ValueError, callbacks.History().plot, "nothing is not in the history, which has no epoch")


def test_plot_without_matplotlib():
    code = """
import sys
sys.modules["matplotlib"] = None
from nblstm.training import History
history = History()
history.on_epoch_end(0, {"loss": 1.0})
try:
    history.plot()
except ImportError as error:
    print(error)
"""

    assert run_python(code) == "plot() draws with matplotlib, which is not installed; pip install matplotlib\n"


# --- numbers that are none ------------------------------------------------------------------------


NAN = float("nan")


class Told(callbacks.Callback):
    """Has an epoch's number be what it was told, and notes the epoch's rate and whether the fit would end."""

    def __init__(self, *values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["told"] = self.values[epoch]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_never_an_improvement(mode, tmp_path):
    """NaN first, then numbers that get better, then NaN: the best epoch is the third."""
    sign = 1 if mode == "min" else -1
    values = (NAN, 5.0 * sign, 3.0 * sign, NAN, 4.0 * sign, NAN)
    trained, kept = model(), {}
    note = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.update({epoch: trained.get_weights()}))
    stop = callbacks.EarlyStopping("told", patience=3, restore_best_weights=True, mode=mode)
    best = callbacks.ModelCheckpoint(tmp_path / "best", "told", save_best_only=True, mode=mode)
    plateau = callbacks.ReduceLROnPlateau("told", patience=2, factor=0.5, mode=mode)
    rates = []
    rate = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: rates.append(trained.optimizer.learning_rate))
    history = fit(Told(*values), note, stop, best, plateau, rate, of=trained, epochs=6)
    assert history.epoch == [0, 1, 2, 3, 4, 5]
    assert (stop.best, stop.best_epoch, best.best, plateau.best) == (3 * sign, 2, 3 * sign, 3 * sign)
    assert all(map(np.array_equal, trained.get_weights(), kept[2]))
    assert all(map(np.array_equal, load_model(tmp_path / "best").get_weights(), kept[2]))
    assert rates == [0.001] * 4 + [0.0005] * 2


def test_nothing_but_nan(tmp_path):
    trained = model()
    stop = callbacks.EarlyStopping("told", patience=2, restore_best_weights=True, mode="min")
    best = callbacks.ModelCheckpoint(tmp_path / "best", "told", save_best_only=True, mode="min")
    history = fit(Told(*[NAN] * 9), stop, best, of=trained, epochs=9)
    assert history.epoch == [0, 1]
    assert (stop.best, best.best, list(tmp_path.iterdir())) == (None, None, [])


def test_what_has_to_be_better_than_is_a_number():
    inf = float("inf")
    for make in (
        lambda value: callbacks.EarlyStopping("told", baseline=value),
        lambda value: callbacks.ModelCheckpoint("m", "told", initial_value_threshold=value),
    ):
        for wrong in (NAN, np.float32("nan"), "0.5", True, [1]):
            message_of(ValueError, lambda make=make, wrong=wrong: make(wrong), "; give a number, or None")
        make(np.float32(0.5))
        make(-inf)
    message_of(ValueError, lambda: callbacks.EarlyStopping(min_delta=NAN), "min_delta is nan")
    unreachable = callbacks.EarlyStopping("told", baseline=-inf, patience=2, mode="min")
    assert fit(Told(3, 2, 1, 0), unreachable, epochs=4).epoch == [0, 1, 2, 3]  # better than before each time
    assert fit(Told(3, inf, -inf, NAN), callbacks.EarlyStopping("told", mode="min"), epochs=4).epoch == [0, 1]
    message_of(
        TypeError, lambda: fit(Told("low"), callbacks.EarlyStopping("told", mode="min"), epochs=1),
        "EarlyStopping monitors 'told', which is 'low' in the logs; let it be a number",
    )  # fmt: skip


# --- callbacks that use the model ---------------------------------------------------------------------


USES = {
    "evaluate": lambda m: m.evaluate(X[:5], Y[:5], verbose=0),
    "evaluate in batches": lambda m: m.evaluate(X[:5], Y[:5], batch_size=2, verbose=0, callbacks=[Within()]),
    "predict": lambda m: m.predict(X[:5], batch_size=2, verbose=0),
    "test_on_batch": lambda m: m.test_on_batch(X[:5], Y[:5]),
    "state": lambda m: m.state(),
    "copy": lambda m: copy.deepcopy(m).fit(X, Y, verbose=0),
}


class Within(callbacks.Callback):
    """Evaluates within an evaluation."""

    def on_test_batch_end(self, batch, logs=None):
        self.model.test_on_batch(X[:3], Y[:3])


class Widest(metrics.Metric):
    """Keeps what it has seen in an array, and resets it in place."""

    def __init__(self, name="widest"):
        self.most = np.zeros(1)
        super().__init__(name)

    def reset_state(self):
        super().reset_state()
        self.most.fill(0)

    def update_state(self, y_true, y_pred, sample_weight=None, mask=None):
        np.maximum(self.most, np.abs(y_true - y_pred).max(), out=self.most)

    def result(self):
        return self.most[0]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("event", ["on_train_batch_end", "on_test_batch_end", "on_epoch_end"])
def test_a_callback_may_use_the_model(use, event):
    """What a fit measures is the same with it and without."""
    results = []
    for used in (False, True):
        trained = model(metrics=("mae", Widest()))
        tell = callbacks.LambdaCallback(**{event: lambda *_, m=trained: USES[use](m)})
        history = fit(*[tell] * used, of=trained, validation_data=(X[:7], Y[:7]), epochs=2)
        results.append((history.history, trained.predict(X, verbose=0).tolist()))
        assert trained.history is history
    assert results[0] == results[1]


def test_what_is_measured_within_a_fit_is_right():
    measured = []
    tell = callbacks.LambdaCallback(on_epoch_end=lambda *_: measured.append(trained.evaluate(X, Y, verbose=0)))
    trained = model()
    fit(tell, of=trained, epochs=1)
    assert measured == [trained.evaluate(X, Y, verbose=0)]


def test_what_other_threads_measure_meanwhile():
    """A slow evaluation of other targets, then a fit beside it: both measure what they do alone."""
    made = model()
    made.compile(SGD(0.0), "mse", metrics=["mae"])
    begun, ended = threading.Event(), threading.Event()

    def slow():
        for k in range(6):
            if k == 1:
                begun.set()
                assert ended.wait(60)
            yield X[:8], Y[:8] + 9

    alone = made.evaluate(X[:8], Y[:8] + 9, verbose=0)
    expected = made.fit(X, Y, epochs=2, batch_size=20, verbose=0).history
    found = []
    thread = threading.Thread(target=lambda: found.append(made.evaluate(slow(), verbose=0)))
    thread.start()
    assert begun.wait(60)
    assert made.fit(X, Y, epochs=2, batch_size=20, verbose=0).history == expected
    assert made.test_on_batch(X, Y) == made.evaluate(X, Y, batch_size=20, verbose=0)
    ended.set()
    thread.join()
    np.testing.assert_allclose(found[0], alone, rtol=1e-6)


def test_a_fit_within_a_fit_is_refused():
    trained = model()
    tell = callbacks.LambdaCallback(on_epoch_end=lambda *_: trained.fit(X, Y, verbose=0))
    message_of(RuntimeError, lambda: fit(tell, of=trained), "another fit of this model runs", "copy.deepcopy(model)")
    assert fit(of=trained, epochs=1).epoch == [0]


# --- validation ---------------------------------------------------------------------------------------


def batches(count, size=4):
    return ((X[:size], Y[:size]) for _ in range(count))


def test_a_validation_generator_for_several_epochs():
    trained = model()
    trained.build((None, 3))
    before = trained.get_weights()
    message_of(
        ValueError, lambda: fit(of=trained, epochs=3, validation_data=batches(9)),
        "validation_data is a generator, of which the first of 3 validations leaves nothing", "validation_steps",
    )  # fmt: skip
    assert all(map(np.array_equal, trained.get_weights(), before))
    for one in ({"epochs": 1}, {"epochs": 3, "validation_freq": 2}, {"epochs": 5, "initial_epoch": 4}):
        assert len(fit(validation_data=batches(9), **one).history["val_loss"]) == 1


def test_a_validation_generator_that_runs_out():
    """The fit goes on: hours of training are not lost for it."""
    with pytest.warns(UserWarning, match="the data ran out|gave no batch") as caught:
        history = model().fit(X, Y, epochs=5, verbose=0, validation_data=batches(5), validation_steps=2)
    said = [str(warning.message) for warning in caught]
    assert len(said) == 2
    assert said[0].startswith("the data ran out after 1 of 2 batches of an evaluation")
    assert said[1].startswith("validation_data gave no batch behind epoch 4 of 5, so there are no more validations")
    assert [len(history.history[name]) for name in ("loss", "val_loss")] == [5, 3]
    assert {warning.filename for warning in caught} == {__file__}
    with pytest.warns(UserWarning, match="ran out after 1 of 2 batches") as caught:
        model().evaluate(batches(1), steps=2, verbose=0)
    assert caught[0].filename == __file__
    message_of(ValueError, lambda: model().evaluate(batches(0), verbose=0), "the evaluation got no batch")


def test_numpys_numbers_and_ranges_of_epochs(tmp_path):
    assert len(fit(epochs=5, validation_split=0.2, validation_freq=np.int64(2)).history["val_loss"]) == 2
    for several in (range(2, 4), np.array([2, 3]), {2, 3}, (np.int32(2), 3)):
        assert len(fit(epochs=5, validation_split=0.2, validation_freq=several).history["val_loss"]) == 2
    for wrong in (0, -1, [0], (2, -1)):
        message_of(ValueError, lambda wrong=wrong: fit(validation_freq=wrong), "validation_freq is", "counted from 1")
    for wrong in (1.5, True, "ab", np.array([1.5]), None):
        message_of(TypeError, lambda wrong=wrong: fit(validation_freq=wrong), "validation_freq is", "counted from 1")
    fit(callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}", save_freq=np.int64(2)), epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["1-2"]
    assert callbacks.BackupAndRestore(tmp_path, save_freq=np.int64(3)).save_freq == 3


def test_a_stateful_layer_is_validated_in_batches_of_one_size():
    x = RNG.normal(size=(8, 5, 3))
    made = Sequential([LSTM(4, stateful=True), Dense(1)], seed=0)
    made.compile("sgd", "mse")
    made.build((None, 5, 3))
    before = made.get_weights()
    for options in ({"validation_batch_size": 2}, {"validation_data": (x[:2], Y[:2])}):
        given = {"validation_data": (x[:4], Y[:4]), **options}
        message_of(
            ValueError, lambda given=given: made.fit(x, Y[:8], batch_size=4, verbose=0, **given),
            "validation comes in batches of 2 and training in batches of 4", "is stateful; give batches of one size",
        )  # fmt: skip
    assert all(map(np.array_equal, made.get_weights(), before))
    made.fit(x, Y[:8], batch_size=4, verbose=0, validation_data=(x[:4], Y[:4]))


class Counted(metrics.Metric):
    """Counts in place, as a confusion matrix does, under a lock, which Python cannot copy."""

    def __init__(self):
        self.lock, self.rows = threading.Lock(), np.zeros(1)
        super().__init__("counted")

    def reset_state(self):
        self.rows[:] = 0

    def update_state(self, y_true, y_pred, sample_weight=None, mask=None):
        with self.lock:
            self.rows += len(y_pred)

    def result(self):
        return float(self.rows[0])


def test_a_callback_evaluates_by_a_metric_that_cannot_be_copied():
    model = Sequential([Input((2,)), Dense(1)], seed=0)
    model.compile("sgd", "mse", metrics=[Counted()])
    x, y, seen = np.ones((6, 2), "f4"), np.ones((6, 1), "f4"), []

    class Evaluates(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((logs["counted"], self.model.evaluate(x[:3], y[:3], verbose=0)[1]))

    history = model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[Evaluates()])
    assert seen == [(2, 3), (4, 3), (6, 3)] * 2
    assert history.history["counted"] == [6, 6]


def test_a_callback_may_compile_anew():
    model = Sequential([Input((2,)), Dense(1)], seed=0)
    model.compile("sgd", "mse")

    class Compiles(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.compile(SGD(0.0), "mae", metrics=["mse"])

    x, y = np.ones((6, 2), "f4"), np.ones((6, 1), "f4")
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[Compiles()]).history
    error = abs(1 - model.predict(x, verbose=0)[0, 0])
    assert history["loss"][1] == pytest.approx(error)
    assert history["mse"][-1] == pytest.approx(error**2)
