"""Keras's files that are damaged, or made to do harm: one sentence, little memory, nothing executed, and no crash."""

import io
import json
import random
import time
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from messages import message_of
from mutations import COUNT, change_value, peak_of, places

from nblstm.layers import LSTM, Bidirectional, Dense, Embedding, Input
from nblstm.models import Sequential, load_model
from nblstm.models.keras_files import hdf5

h5py = pytest.importorskip("h5py", reason="Keras's files are written by h5py")

KINDS = ("m.keras", "m.h5", "m.weights.h5")


def model_of(seed=0):
    layers = [Embedding(5, 3, mask_zero=True), Bidirectional(LSTM(2, return_sequences=True)), LSTM(2), Dense(2, "relu")]
    model = Sequential([Input((4,)), *layers], name="m", seed=seed)
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """A trained model's files, as bytes by name; each kind is loaded once, so that what is measured is a file's own."""
    folder = tmp_path_factory.mktemp("small")
    made = written(folder)
    for name in KINDS:
        (model_of(1).load_weights if "weights" in name else load_model)(folder / name)
    return made


def written(folder):
    model = model_of()
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    for name in KINDS:
        (model.save_weights if "weights" in name else model.save)(folder / name)
    return {name: (folder / name).read_bytes() for name in KINDS}


def changed_json(text, chance):
    config = json.loads(text)
    for _ in range(chance.choice([1, 1, 1, 2])):
        change_value(list(places(config)), chance, ["x", "config", "module", "name"])
        if not config:
            break
    return json.dumps(config)


def changed_bytes(data, chance):
    """Bytes changed where something stands: most of a HDF5 file is empty."""
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(data))
        while chance.random() < 0.95 and not data[at]:
            at = chance.randrange(len(data))
        change = chance.random()
        if change < 0.4:
            data[at] = chance.randrange(256)
        elif change < 0.6:
            data[at] ^= 1 << chance.randrange(8)
        elif change < 0.8:  # a number of 8 bytes, such as an address or a size
            near = at - at % 8
            number = chance.choice([0, 1, near, near + 8, len(data), 2**32, 2**63, 2**64 - 1, chance.randrange(2**14)])
            data[near : near + 8] = number.to_bytes(8, "little")
        elif change < 0.9:
            del data[at : at + chance.randrange(1, 9)]
        elif chance.random() < 0.3:
            del data[at:]
        if not data:
            break
    return bytes(data)


def mutated(name, content, chance):
    if name == "m.keras":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        kind = chance.random()
        if kind < 0.2:
            return changed_bytes(content, chance)
        if kind < 0.7:
            members["config.json"] = changed_json(members["config.json"], chance).encode()
        else:
            member = chance.choice(["model.weights.h5"] * 5 + list(members))
            members[member] = changed_bytes(members[member], chance)
        with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        return file.getvalue()
    if name == "m.h5" and chance.random() < 0.5:
        file = io.BytesIO(content)
        with h5py.File(file, "r+") as opened:
            attribute = chance.choice(["model_config", "model_config", "training_config"])
            opened.attrs[attribute] = changed_json(opened.attrs[attribute], chance)
        return file.getvalue()
    return changed_bytes(content, chance)


def check(name, content, folder, count, seed=0):
    """Load so many mutations; return the sentences, and the longest time and most memory, in files, that one took."""
    path, chance, model = folder / name, random.Random(seed), model_of(1)
    before, said, longest, most = model.get_weights(), [], 0.0, 0
    for k in range(count):
        data = mutated(name, content, chance)
        path.write_bytes(data)
        if k % 25 == 0:  # it takes 5 times as long so
            tracemalloc.start()
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an optimizer that begins anew
                (model.load_weights if "weights" in name else load_model)(path)
        except ValueError as error:
            said.append(str(error))
            assert all(map(np.array_equal, model.get_weights(), before))
        else:
            model.set_weights(before)
        longest = max(longest, time.perf_counter() - start)
        most = max(most, tracemalloc.get_traced_memory()[1] / len(content))
        tracemalloc.stop()
    for message in said:
        assert message.startswith(repr(str(path)))
        assert "\n" not in message
    return said, longest, most


@pytest.mark.parametrize("name", KINDS)
def test_mutations(name, contents, tmp_path):
    said, _, most = check(name, contents[name], tmp_path, COUNT)
    assert len(said) > COUNT / 5
    assert most < 10


def refused(path, *fragments, memory=4 << 20):
    message, peak = peak_of(lambda: message_of(ValueError, lambda: load_model(path), repr(str(path)), *fragments))
    assert peak < memory
    return message


def test_links_and_datasets_elsewhere(contents, tmp_path):
    """The ways in which an HDF5 file names another one, or one of its own parts twice."""
    other = tmp_path / "other.h5"
    other.write_bytes(contents["m.weights.h5"])

    def vast(file, name):
        file.create_dataset(name, shape=(10**12,), dtype="f4")

    def chunked(file, name):
        file.create_dataset(name, data=np.zeros((4, 4), "f4"), chunks=(2, 2))

    def compressed(file, name):
        file.create_dataset(name, data=np.zeros((1000, 1000), "f4"), compression="gzip")

    def elsewhere(file, name):
        file.create_dataset(name, shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)])

    def virtual(file, name):
        layout = h5py.VirtualLayout(shape=(5, 3), dtype="f4")
        layout[:] = h5py.VirtualSource(str(other), "layers/embedding/vars/0", shape=(5, 3))
        file.create_virtual_dataset(name, layout)

    def link(made):
        def put(file, name):
            file[name] = made(file)

        return put

    cases = {
        "a soft link": link(lambda file: h5py.SoftLink("/layers/lstm/cell/vars/0")),
        "a link": link(lambda file: h5py.ExternalLink(str(other), "/layers")),
        "an object of two names": link(lambda file: file["layers/lstm/cell/vars/0"]),
        "that was never written": vast,
        "that is chunked; Keras writes arrays in one piece": chunked,
        "that is compressed, or in chunks": compressed,
        "whose numbers are in another file": elsewhere,
        "virtual": virtual,
    }
    for fragment, put in cases.items():
        for order in (False, True):  # groups of the old kind, and of the new
            with h5py.File(file := io.BytesIO(contents["m.weights.h5"]), "r+") as opened:
                opened.create_group("extra", track_order=order)
                put(opened, "extra/x")
            repacked(contents["m.keras"], tmp_path / "m.keras", **{"model.weights.h5": file.getvalue()})
            refused(tmp_path / "m.keras", "cannot be loaded: it has", fragment)


def repacked(content, path, compression=zipfile.ZIP_STORED, without=(), **members):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if name not in without}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in (found | members).items():
            archive.writestr(name, data)
    return path


def test_archives_of_other_kinds(contents, tmp_path):
    content, path = contents["m.keras"], tmp_path / "m.keras"
    load_model(repacked(content, path, zipfile.ZIP_DEFLATED))
    bomb = bytes(1 << 26)
    repacked(content, path, zipfile.ZIP_DEFLATED, **{"model.weights.h5": bomb})
    refused(path, "expands to more than 10 times")
    repacked(content, path, without=("model.weights.h5",), **{"model.weights.npz": b"PK"})
    refused(path, "in 'model.weights.npz', which nblstm does not read")
    refused(repacked(content, path, without=("config.json",)), "it has no config.json")
    repacked(content, path, **{"config.json": b"[" * 20_000 + b"]" * 20_000})
    refused(path, "its content is not what Keras writes")
    for data in (b"", b"x", b"PK\3\4", hdf5.SIGNATURE, hdf5.SIGNATURE + bytes(100)):
        path.write_bytes(data)
        refused(path, "cannot be loaded")


def test_small_things_of_which_there_are_many(contents, tmp_path):
    """A few bytes of a file can stand for an object of Python that takes a hundred."""
    path, much = tmp_path / "m.keras", "would take more than ten times the memory"
    values = b"[" + b"[]," * 300_000 + b"0]"
    refused(repacked(contents["m.keras"], path, **{"config.json": values}), "its config.json", much)
    repacked(contents["m.keras"], path, zipfile.ZIP_DEFLATED, **{"config.json": values * 5})
    refused(path, "expands to more than 10 times")
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        for k in range(6):
            file.attrs[str(k)] = np.full(32_000, b"ab")
    refused(path, "its lists of names", much, memory=10 * path.stat().st_size + (4 << 20))
    messages = b"\x0c\0\0\0\0\0\0\0" * 30_000  # of attributes without anything
    header = b"\1\0\1\0\1\0\0\0" + len(messages).to_bytes(8, "little")
    data = bytearray(path.read_bytes()[:96])
    data[64:72] = (96).to_bytes(8, "little")
    path.write_bytes(data + header + messages)
    refused(path, "the headers of its objects", much, memory=10 * path.stat().st_size + (4 << 20))


def test_configs_that_would_execute_or_allocate(contents, tmp_path):
    content, path = contents["m.keras"], tmp_path / "m.keras"

    def record(change):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            config = json.loads(archive.read("config.json"))
        change(config["config"]["layers"])
        return repacked(content, path, **{"config.json": json.dumps(config).encode()})

    def put(record):
        return lambda layers: layers.__setitem__(1, record)

    cases = {
        "Lambda": put({"module": "keras.layers", "class_name": "Lambda", "config": {"function": {
            "class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}}),
        "there is no layer named 'Custom>system'": put({"module": "os", "class_name": "system", "config": {}}),
        "there is no layer named 'Custom>Popen'": put(
            {"module": "subprocess", "class_name": "Popen", "config": {}, "registered_name": "Popen"}
        ),
        "have shapes": lambda layers: layers[1]["config"].update(input_dim=10**12),
        "needs {": lambda layers: layers[3]["config"].update(units=10**9),
    }  # fmt: skip
    for fragment, change in cases.items():
        refused(record(change), fragment)


def test_groups_of_any_size_are_read():
    """Up to 8 members in the header, then in a heap and a B-tree of one level or more; and lists of many names."""
    for count in (1, 9, 60, 1500):
        with h5py.File(memory := io.BytesIO(), "w") as file:
            new, old = file.create_group("new", track_order=True), file.create_group("old")
            for k in range(count):
                new[str(k)] = np.int32(k) if k % 3 else np.full((2, k % 5), k, ">f8")
                old[f"name_{k}"] = np.arange(k % 4, dtype="u2")
            old.attrs["names"] = [f"name_{k}".encode() for k in range(min(count, 1000))]
            file.attrs["text"] = "x" * 70_000
            file.attrs["numbers"] = np.arange(6.0).reshape(2, 3)
            file.attrs["empty"] = h5py.Empty("f4")
        root = hdf5.read(memory.getvalue())
        assert root.attributes["text"] == "x" * 70_000
        assert np.array_equal(root.attributes["numbers"], np.arange(6.0).reshape(2, 3))
        assert root.group("old").attributes["names"] == [f"name_{k}" for k in range(min(count, 1000))]
        assert len(root.group("new").members) == len(root.group("old").members) == count
        for k in range(count):
            assert np.array_equal(root.array(f"new/{k}"), np.int32(k) if k % 3 else np.full((2, k % 5), k))
            assert np.array_equal(root.array(f"old/name_{k}"), np.arange(k % 4))


@pytest.mark.parametrize("libver", ["latest", ("v110", "v110"), ("earliest", "v108")])
def test_files_that_other_settings_of_h5py_write(libver):
    """Superblocks, headers and groups of other versions, and numbers of other types than Keras's."""
    array = np.arange(6.0).reshape(2, 3)
    with h5py.File(memory := io.BytesIO(), "w", libver=libver) as file:
        for kind in ("<f2", ">f4", "<f8", ">f8", ">i4"):
            file.create_dataset(f"a/b/{kind}", data=array.astype(kind))
        file["a"].attrs["names"] = ["x", "yz"]
    root = hdf5.read(memory.getvalue())
    assert root.group("a").attributes["names"] == ["x", "yz"]
    assert len(root.group("a/b").members) == 5
    assert all(np.array_equal(found, array) for found in root.group("a/b").members.values())
