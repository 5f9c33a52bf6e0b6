"""Files: a loaded model is the same to the bit; a killed save leaves the old file; damaged ones are refused."""

import io
import json
import os
import re
import signal
import time
import tracemalloc
import warnings
import zipfile

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
    register_cell,
)
from nblstm.models import Sequential, load_model
from nblstm.training import Adam, archive, losses, schedules

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


def test_without_optimizer(tmp_path):
    model = small()
    model.save(tmp_path / "a", include_optimizer=False)
    assert not Sequential.load(tmp_path / "a").compiled
    model.save(tmp_path / "b")
    assert not load_model(tmp_path / "b", compile=False).compiled
    model.compile("sgd", lambda y, p: (np.square(p - y).mean(-1), 2 * (p - y)))
    with pytest.raises(TypeError, match=r"cannot be saved.*; or save without it, by include_optimizer=False"):
        model.save(tmp_path / "c")
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
    with pytest.raises(ValueError, match="cannot be loaded: it does not have the parameters of its layers"):
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
    assert not list(tmp_path.iterdir())


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


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


SAVER = """
import os, signal, sys
import numpy as np
from nblstm.layers import Dense, Input
from nblstm.models import Sequential
from nblstm.training import archive

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


# --- files that are not what they should be ---------------------------------------------------------


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A small model's file, as bytes."""
    path = tmp_path_factory.mktemp("small") / "m"
    model = Sequential([Input((2,)), Dense(2, name="d")], name="m", seed=0)
    model.compile("sgd", "mse")
    model.save(path)
    return path.read_bytes()


def refused(path, *fragments):
    """Loading gives one sentence, and takes little memory."""
    tracemalloc.start()
    with pytest.raises(ValueError, match=re.escape(repr(str(path)))) as caught:
        load_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    message = str(caught.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message
    assert peak < 4 << 20
    return message


def test_damage_is_noticed(content, tmp_path):
    """Each byte changed, in turn: the file is refused, or the byte had no meaning."""
    path = tmp_path / "m"
    path.write_bytes(content)
    whole, config = load_model(path).get_weights(), load_model(path).to_json()
    messages = []
    for k in range(0, len(content), 2):
        damaged = bytearray(content)
        damaged[k] ^= 1 << (k // 2 % 8)
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile's, of duplicate names
                model = load_model(path)
        except ValueError as error:
            messages.append(str(error))
        else:
            assert model.to_json() == config
            assert all(map(np.array_equal, model.get_weights(), whole))
    assert all(message.startswith(repr(str(path))) for message in messages)
    assert len(messages) > len(content) / 3


def test_truncation_is_noticed(content, tmp_path):
    for length in (*range(0, len(content), 7), len(content) - 1):
        (tmp_path / "m").write_bytes(content[:length])
        refused(tmp_path / "m", "is no file of nblstm's, or it is damaged")


def rewritten(content, path, change_config=None, members=None, compression=zipfile.ZIP_STORED):
    """The file with its config changed, and other members."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive_:
        found = [(info.filename, archive_.read(info)) for info in archive_.infolist()]
    if change_config:
        config = json.loads(found[0][1])
        change_config(config)
        found[0] = (archive.CONFIG, json.dumps(config).encode())
    with zipfile.ZipFile(path, "w", compression) as archive_, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in members(found) if members else found:
            archive_.writestr(name, data)
    return path


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_members_of_other_kinds(content, tmp_path):
    path = tmp_path / "m"
    zeros = np.zeros((2, 2), np.float32)
    cases = {
        "two members of one name": lambda found: [*found, found[1]],
        "has dtype object": lambda found: [found[0], ("0.npy", npy(np.array([print, "x"], object))), *found[2:]],
        "which is not its length": lambda found: [found[0], ("0.npy", npy(np.zeros((2, 3)))[:-8]), *found[2:]],
        "'0.npy'": lambda found: [found[0], ("../0.npy", found[1][1]), *found[2:]],
        "magic string": lambda found: [found[0], ("0.npy", b"no array"), *found[2:]],
        "it has no config.json": lambda found: found[1:],
        "its config.json is not nblstm's": lambda found: [("config.json", b"[]"), *found[1:]],
    }
    for fragment, members in cases.items():
        refused(rewritten(content, path, members=members), "is no file of nblstm's, or it is damaged", fragment)
    declared = npy(zeros).replace(b"(2, 2), }        ", b"(99999999999, 2)}")
    refused(
        rewritten(content, path, members=lambda found: [found[0], ("0.npy", declared), *found[2:]]), "not its length"
    )
    refused(rewritten(content, path, compression=zipfile.ZIP_DEFLATED), "compressed")
    nested = b'{"format": "nblstm", "version": 1, "kind": "model", "content": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    refused(rewritten(content, path, members=lambda found: [("config.json", nested), *found[1:]]))
    (tmp_path / "text").write_text("import os\n" * 100)
    refused(tmp_path / "text", "not a zip file")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "nothing")


def layer_config(**changes):
    def change(config):
        config["content"]["config"]["layers"][1]["config"].update(changes)

    return change


def test_configs_of_other_kinds(content, tmp_path):
    path = tmp_path / "m"

    def replaced(*keys, by):
        def change(config):
            at = config["content"]
            for key in keys[:-1]:
                at = at[key]
            at[keys[-1]] = by

        return change

    layers = ("config", "layers")
    cases = {
        "there is no layer named 'Evil'": replaced(*layers, 1, "class_name", by="Evil"),
        "there is no layer named 'os.system'": replaced(*layers, 1, by={"class_name": "os.system", "config": {}}),
        "saved layer": replaced(*layers, 1, by="Dense"),
        "have shapes": layer_config(units=10**15),
        "units is '4'": layer_config(units="4"),
        "units is [4]": layer_config(units=[4]),
        "unknown argument 'shell'": layer_config(shell="rm"),
        "activation": layer_config(activation={"class_name": "Dense", "config": {}}),
        "which none has": layer_config(input_shape=[5]),
        "layers is no list": replaced(*layers, by={"a": 1}),
        "name is 3": replaced("config", "name", by=3),
        "build_input_shape": replaced("config", by={"name": "m", "layers": []}),
        "input_shape": replaced("config", "build_input_shape", by="abc"),
        "the parameters of its layers": replaced("weights", by=[]),
        "AttributeError": replaced("weights", by=[[1]]),
        "have shapes ": replaced("weights", 0, by={}),
        "there is no": replaced("compile", "loss", by={"class_name": "Popen", "config": {}}),
        "optimizer is 'evil'": replaced("compile", "optimizer", by="Evil"),
        "KeyError": replaced("compile", by={}),
        "random states": replaced("generators", "layers", by=[1]),
        "PCG64": replaced("generators", "model", by={"bit_generator": "MT19937", "state": {}}),
        "bptt_steps is": replaced("compile", "bptt_steps", by="many"),
    }
    for fragment, change in cases.items():
        message = refused(rewritten(content, path, change))
        assert "cannot be loaded: " in message
        if fragment not in ("there is no", "saved layer"):
            assert fragment in message, (fragment, message)
    refused(rewritten(content, path, lambda config: config.update(version=7)), "its format is version 7")
    refused(rewritten(content, path, lambda config: config.update(content=3)), "has no content")


def test_sizes_that_a_config_declares_take_no_memory(tmp_path):
    """Initial embeddings, or a vocabulary of a trillion words, are compared with what is in the file first."""
    model = Sequential([Input((3,)), Embedding(5, 2, name="e"), LSTM(2, name="l")])
    model.save(tmp_path / "m")
    content = (tmp_path / "m").read_bytes()

    def vast(config):
        config["content"]["config"]["layers"][1]["config"]["input_dim"] = 10**12

    def given(config):
        vast(config)
        config["content"]["config"]["layers"][1]["config"]["weights"] = [[1.0]]

    def long(config):
        config["content"]["config"]["layers"][2]["config"]["units"] = 10**7

    for change in (vast, given, long):
        refused(rewritten(content, tmp_path / "m", change), "cannot be loaded: ")
