"""Callbacks in a fit, its history, and what it shows; what they decide is in test_models_golden.py."""

import csv
import sys

import numpy as np
import pytest
from messages import message_of
from processes import run_python

from nblstm.layers import Dense
from nblstm.models import Sequential, load_model
from nblstm.training import SGD, Adam, callbacks, schedules
from nblstm.training.progress import Progress

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
    message_of(ValueError, lambda: callbacks.EarlyStopping(mode="up"), "mode is 'up'")
    message_of(TypeError, lambda: callbacks.EarlyStopping(patience=1.5), "patience is 1.5")
    message_of(ValueError, lambda: callbacks.ReduceLROnPlateau(factor=1), "factor is 1; give a number")
    message_of(ValueError, lambda: callbacks.ModelCheckpoint("m", save_freq="batch"), "save_freq is 'batch'")
    message_of(ValueError, lambda: callbacks.BackupAndRestore(""), "backup_dir is ''; give a path")
    message_of(TypeError, lambda: callbacks.ModelCheckpoint(3), "filepath is 3 of type int; give a path")
    message_of(TypeError, lambda: callbacks.LambdaCallback(on_epoch=print), "there is no 'on_epoch' in a fit; give one")
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


def test_plot():
    figures = pytest.importorskip("matplotlib.figure")
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    history = fit(epochs=5, validation_split=0.2, validation_freq=2)
    figure = history.plot()
    assert isinstance(figure, figures.Figure)
    loss, _ = figure.axes
    assert [line.get_label() for line in loss.lines] == ["loss", "val_loss"]
    assert list(loss.lines[1].get_xdata()) == [2, 4]
    assert loss.lines[0].get_color() == loss.lines[1].get_color()
    for epochs in (2, 3, 5, 300):
        loss.set_xlim(1, epochs)
        assert all(tick == int(tick) for tick in loss.get_xticks())  # there is no epoch 1.25
    assert history.plot("loss", ax=figure.axes[1]) is figure
    matplotlib.pyplot.close(figure)
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


# --- what is shown ------------------------------------------------------------------------------


def test_lines(capsys):
    trained = model()
    for verbose in (2, 1, "auto"):
        trained.fit(X, Y, batch_size=8, epochs=2, verbose=verbose, validation_split=0.5)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert lines[1].startswith("Epoch 2/2 - 2/2 - ")
        assert all(f" {name}: " in lines[1] for name in ("loss", "mae", "val_loss", "val_mae"))
    trained.evaluate(X, Y, batch_size=8)
    assert capsys.readouterr().out.startswith("3/3 - ")
    trained.predict(X, batch_size=8)
    trained.fit(X, Y, verbose=0)
    assert capsys.readouterr() == ("", "")


def test_the_bar(monkeypatch, capsys):
    """Drawn on a terminal, with the measurements so far, and taken away at the end."""
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("nblstm.training.progress.REDRAWN", 0.0)
    model().fit(X, Y, batch_size=8, epochs=1)
    drawn = capsys.readouterr()
    assert "Epoch 1/1" in drawn.err
    assert "loss=" in drawn.err or "loss: " in drawn.err
    assert drawn.out.startswith("Epoch 1/1 - 3/3")


def test_numbers_and_times(capsys):
    progress = Progress(2, "T", None)
    progress.step(7, None)
    progress.line({"a": 0.12345, "b": 1e-5, "c": float("nan"), "d": 0.0})
    shown = capsys.readouterr().out
    assert shown.startswith("T - 7/7 - ")
    assert shown.endswith("/step - a: 0.1235 - b: 1.0000e-05 - c: nan - d: 0.0000\n")


def test_without_tqdm():
    code = """
import sys
sys.modules["tqdm"] = None
import numpy as np
from nblstm.layers import Dense
from nblstm.models import Sequential
model = Sequential([Dense(1)])
model.compile("sgd", "mse")
model.fit(np.zeros((4, 2)), np.zeros(4), epochs=2, verbose=1)
"""

    assert [line[:9] for line in run_python(code).splitlines()] == ["Epoch 1/2", "Epoch 2/2"]
