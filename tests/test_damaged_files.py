"""Files that are damaged, cut off or made to do harm: one sentence, little memory, and nothing is executed."""

import io
import json
import random
import re
import warnings
import zipfile

import numpy as np
import pytest
from messages import message_of
from mutations import COUNT, mutated, peak_of

from nblstm.files import archive
from nblstm.layers import LSTM, Dense, Embedding, Input
from nblstm.models import Sequential, load_model


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
    message, peak = peak_of(lambda: message_of(ValueError, lambda: load_model(path), repr(str(path)), *fragments))
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
        "it has no config.json": lambda found: [("notes.txt", b"none"), *found[1:]],
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
        "parameters of 0 layers, and the model has 1": replaced("weights", by=[]),
        "are no arrays": replaced("weights", by=[[1]]),
        "weights of the content is of type int": replaced("weights", by=3),
        "have shapes ": replaced("weights", 0, by={}),
        "there is no": replaced("compile", "loss", by={"class_name": "Popen", "config": {}}),
        "there is no optimizer named 'Evil'": replaced("compile", "optimizer", by={"class_name": "Evil", "config": {}}),
        "optimizer of what the model is compiled with is of type str": replaced("compile", "optimizer", by="Evil"),
        "it needs to be a dict of optimizer, loss": replaced("compile", by={}),
        "random states": replaced("generators", "layers", by=[1]),
        "random state is none of a PCG64": replaced(
            "generators", "model", by={"bit_generator": "MT19937", "state": {}}
        ),
        "bptt_steps is -1": replaced("compile", "bptt_steps", by=-1),
    }
    for fragment, change in cases.items():
        message = refused(rewritten(content, path, change))
        assert "cannot be loaded: " in message
        if fragment not in ("there is no", "saved layer"):
            assert fragment in message, (fragment, message)
    refused(rewritten(content, path, lambda config: config.update(version=7)), "its format is version 7")
    for long in (layer_config(units="4\n" * 10**5), lambda config: config.update(version="4\n" * 10**5)):
        message = refused(rewritten(content, path, long))
        assert len(message) < 1000
        assert "\n" not in message
    refused(rewritten(content, path, lambda config: config.update(content=3)), "has no content")


#: What Python itself says where a file's content goes in unchecked.
PYTHONS = re.compile(
    "object (is not|has no)|argument must|must be a|unsupported operand|invalid literal|could not convert|positional|"
    "an integer is required|indices|sequence|Error:"
)


@pytest.mark.parametrize("kind", ["model", "weights"])
def test_mutations(content, kind, tmp_path):
    """One sentence of one kind, whatever was changed; and nothing of a model that exists."""
    path, chance = tmp_path / "m", random.Random(0)
    model = Sequential([Input((2,)), Dense(2, name="d")], name="m", seed=1)
    before, said = model.get_weights(), []
    for _ in range(COUNT):
        path.write_bytes(mutated(content, chance))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile's, of duplicate names
                (load_model if kind == "model" else model.load_weights)(path)
        except ValueError as error:
            said.append(str(error))
            assert all(map(np.array_equal, model.get_weights(), before))
        else:
            model.set_weights(before)
    assert len(said) > COUNT / 3
    for message in said:
        assert message.startswith(repr(str(path)))
        assert "\n" not in message
        assert "damaged" in message or not PYTHONS.search(message), message


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
