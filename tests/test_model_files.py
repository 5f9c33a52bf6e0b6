"""Files: a loaded model is the same to the bit; a killed save leaves the old file."""

import copy
import io
import os
import pickle
import signal
import time

import numpy as np
import pytest
from messages import message_of
from processes import start

from nblstm import cell, tanh
from nblstm.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Bidirectional,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    LayerNormalization,
    MaxPooling2D,
    TimeDistributed,
    initializers,
    register_cell,
)
from nblstm.models import Sequential, clone_model, load_model, model_from_json, save_model
from nblstm.training import Adam, losses
from nblstm.training.optimizers import schedules

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
Y = X.sum(axis=1, keepdims=True)


@register_cell
@cell(gates="a", states="h")
def slow(a, h):
    return 0.9 * h + 0.1 * tanh(a)


def small(**options):
    model = Sequential(
        [Input((3,)), Dense(4, "tanh", kernel_regularizer="l2"), Dropout(0.2), Dense(1)], seed=0, **options
    )
    model.compile(Adam(0.01), "mse", metrics=["mae"])
    model.fit(X, Y, epochs=2, verbose=0)
    return model


def words():
    model = Sequential(
        [
            Input((7,), dtype="int32"), Embedding(9, 4, mask_zero=True), LSTM(5, return_sequences=True, dropout=0.1),
            Bidirectional(GRU(3, return_sequences=True)), LayerNormalization(), RNN(slow, 4), Dense(3, "softmax"),
        ],
        name="words",
    )  # fmt: skip
    model.compile(
        Adam(schedules.CosineDecay(0.01, 20), clipnorm=1.0), losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"], weighted_metrics=["mse"],
    )  # fmt: skip
    return model, RNG.integers(0, 9, (10, 7)), np.eye(3)[RNG.integers(0, 3, 10)]


def images():
    layers = [
        TimeDistributed(Conv2D(2, (3, 3), activation="relu"), input_shape=(None, 6, 5, 1)),
        TimeDistributed(MaxPooling2D((2, 2))), TimeDistributed(Flatten()), LSTM(3, stateful=True), Activation("elu"),
    ]  # fmt: skip
    model = Sequential(layers)
    model.compile("rmsprop", "huber")
    return model, RNG.normal(size=(4, 3, 6, 5, 1)), RNG.normal(size=(4, 3))


@pytest.mark.parametrize("make", [words, images])
def test_a_loaded_model_goes_on_in_the_same_bits(make, tmp_path):
    model, x, y = make()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.name == model.name
    assert loaded.to_json() == model.to_json()
    for _ in range(2):  # stateful layers predict something else each time
        assert np.array_equal(loaded.predict(x), model.predict(x))
    first, second = (m.fit(x, y, epochs=3, batch_size=4, verbose=0) for m in (model, loaded))
    assert first.history == second.history
    assert np.array_equal(loaded.predict(x), model.predict(x))
    assert loaded.evaluate(x, y, verbose=0, batch_size=4) != []


CALLS = []


def counted(shape, dtype=None):
    CALLS.append(shape)
    return np.ones(shape)


def noted(w):
    CALLS.append(w)
    return w


def test_nothing_is_drawn_that_is_loaded(tmp_path, monkeypatch):
    """Neither by nblstm's initializers nor by one of the user's own; and the source of randomness goes on as it was."""
    layers = [
        Bidirectional(LSTM(3, return_sequences=True)), TimeDistributed(Dense(3)),
        RNN("gru", 3, kernel_initializer=counted), Dense(1, kernel_constraint=noted),
    ]  # fmt: skip
    model = Sequential(layers, seed=1)
    x = RNG.normal(size=(5, 4, 3))
    model.compile("adam", "mse")
    model.fit(x, x[:, 0, :1], verbose=0)
    model.save(tmp_path / "m")
    kept, pickled = model.state(), pickle.dumps(model)
    unbuilt = Sequential([layer.unbuilt() for layer in model.layers])
    unbuilt.compile("adam", "mse")
    CALLS.clear()

    def refuse(*_, **__):
        raise AssertionError("drawn")

    monkeypatch.setattr(initializers.Initializer, "__call__", refuse)
    made = [load_model(tmp_path / "m", {"counted": counted, "noted": noted}), pickle.loads(pickled), copy.copy(model)]
    unbuilt.load_state(kept)
    monkeypatch.undo()
    assert CALLS == []
    for other in (*made, unbuilt):
        assert np.array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))
    assert len({other.generator.random() for other in (model, *made, unbuilt)}) == 1


def test_without_optimizer(tmp_path):
    model = small()
    model.save(tmp_path / "a", include_optimizer=False)
    assert not Sequential.load(tmp_path / "a").compiled
    model.save(tmp_path / "b")
    assert not load_model(tmp_path / "b", compile=False).compiled
    model.compile("sgd", lambda y, p: (np.square(p - y).mean(-1), 2 * (p - y)))
    with pytest.raises(TypeError, match=r"cannot be saved.*; or save without it, by include_optimizer=False"):
        model.save(tmp_path / "c")
    constrained = Sequential([Input((3,)), Dense(2, kernel_constraint=np.abs)])
    with pytest.raises(
        TypeError, match=r"kernel_constraint is absolute, which cannot be saved; give a function .* its name$"
    ):
        constrained.save(tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_weights_alone(tmp_path):
    model, other = small(), Sequential([Dense(4, "relu"), Dense(1)])
    model.save_weights(tmp_path / "w")
    model.save(tmp_path / "m")
    before = model.get_weights()
    for name in ("w", "m"):
        model.fit(X, Y, verbose=0)
        model.load_weights(tmp_path / name)
        assert all(map(np.array_equal, model.get_weights(), before))
    with pytest.raises(ValueError, match="the model is not built"):
        other.load_weights(tmp_path / "w")
    other.build((None, 3))
    mine = other.get_weights()
    with pytest.raises(ValueError, match=r"cannot be loaded: it has the parameters of 3 layers, .* has 2 layers"):
        other.load_weights(tmp_path / "w")
    other = Sequential([Input((3,)), Dense(4), Dropout(0.1), Dense(2)])
    mine = other.get_weights()
    with pytest.raises(ValueError, match=r"cannot be loaded: the parameters of layer .* have shapes .*\(4, 1\)"):
        other.load_weights(tmp_path / "w")
    assert all(map(np.array_equal, other.get_weights(), mine))
    with pytest.raises(ValueError, match="it holds a 'weights' and not a 'model'"):
        load_model(tmp_path / "w")


def test_paths(tmp_path):
    model = Sequential([Dense(2, input_dim=3)])
    missing, text = tmp_path / "none" / "m", "give a path"
    for use in (model.save, model.save_weights, model.load_weights, load_model):
        message_of(TypeError, lambda use=use: use(3), "filepath is 3 of type int", text)
        message_of(TypeError, lambda use=use: use(io.BytesIO()), "of type BytesIO", text)
        message_of(ValueError, lambda use=use: use(""), "filepath is ''", text)
    for write in (model.save, model.save_weights):
        message_of(FileNotFoundError, lambda write=write: write(missing), f"no folder {str(missing.parent)!r}; make it")
        message_of(IsADirectoryError, lambda write=write: write(tmp_path), "which is a folder; give the path of a file")
    for read in (model.load_weights, load_model):
        message_of(FileNotFoundError, lambda read=read: read(missing), f"is {str(missing)!r} and there is no such file")
        message_of(IsADirectoryError, lambda read=read: read(tmp_path), "which is a folder; give the path of a file")
    assert not list(tmp_path.iterdir())


def test_models_from_a_description(tmp_path):
    model, x, _ = words()
    for other in (clone_model(model), model_from_json(model.to_json(indent=2))):
        assert other.to_json() == model.to_json()
        assert not other.compiled
        other.set_weights(model.get_weights())
        assert np.array_equal(other.predict(x), model.predict(x))
    save_model(model, tmp_path / "saved")
    assert load_model(tmp_path / "saved").to_json() == model.to_json()
    message_of(TypeError, lambda: clone_model(3), "model is 3; give a Sequential")
    message_of(ValueError, lambda: model_from_json("[1"), "json_string is no JSON", "give what to_json() gave")
    message_of(ValueError, lambda: model_from_json("{}"), "json_string describes no Sequential; give what to_json")


def test_overwriting(tmp_path):
    model = small()
    model.save(tmp_path / "m")
    with pytest.raises(FileExistsError, match=r"there is a file .* already; give overwrite=True"):
        model.save(tmp_path / "m", overwrite=False)
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "no folder" / "m")
    with pytest.raises(ValueError, match="the model is not built"):
        Sequential([Dense(2)]).save(tmp_path / "u")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o666 & ~_umask()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "m")
    model.fit(X, Y, verbose=0)
    model.save(link)
    assert link.is_symlink()
    assert np.array_equal(load_model(tmp_path / "m").predict(X), model.predict(X))


@pytest.mark.skipif(os.name != "posix", reason="of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(mode, tmp_path):
    model, path = Sequential([Input((3,)), Dense(2)], seed=0), tmp_path / "m.nblstm"
    model.save(path)
    path.chmod(mode)
    model.save(path)
    assert path.stat().st_mode & 0o777 == mode


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


SAVER = """
import os, signal, sys
import numpy as np
from nblstm.layers import Dense, Input
from nblstm.models import Sequential
from nblstm.files import archive

model = Sequential([Input((500,)), Dense(800), Dense(1)], seed=0)
model.save(sys.argv[1])
print("saved", flush=True)
if sys.argv[2] == "at the end":
    archive.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
number = 0
while True:
    number += 1
    model.set_weights([np.full_like(w, number) for w in model.get_weights()])
    model.save(sys.argv[1])
"""


@pytest.mark.parametrize("when", ["at the end", 0.005, 0.02, 0.05])
def test_kill_9_leaves_a_whole_file(when, tmp_path):
    process = start(SAVER, str(tmp_path / "m"), str(when))
    assert process.stdout.readline() == "saved\n"
    if when != "at the end":
        time.sleep(when)
        process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    weights = load_model(tmp_path / "m").get_weights()
    if when == "at the end":
        assert len(list(tmp_path.iterdir())) == 2  # the part that was written, under another name
        assert np.ptp(weights[0]) > 0
    else:
        assert np.ptp(weights[0]) > 0 or all((w == weights[0][0, 0]).all() for w in weights)
