"""Networks and weights in .safetensors, .npz and torch's files: the makers' numbers, and what is refused."""

import argparse
import collections
import datetime
import os
import uuid
import zipfile
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from messages import message_of

from nblstm import cell, cells, nn, sigmoid, tanh
from nblstm.files import element_types, tensors
from nblstm.layers import LSTM, Bidirectional, Dense, Input, LayerNormalization
from nblstm.models import Sequential
from nblstm.training.callbacks import ModelCheckpoint

FOLDER = Path(__file__).parent / "golden" / "torch_files"
with np.load(FOLDER / "expected.npz") as _archive:
    EXPECTED = {name: _archive[name] for name in _archive.files}

LSTM_PREFIX = "state_dict.module.encoder."


def expected(file):
    """What the file has, by name."""
    start = f"{file}/"
    return {name.removeprefix(start): value for name, value in EXPECTED.items() if name.startswith(start)}


def same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.shape == other[name].shape, name
        assert value.dtype == other[name].dtype, name
        np.testing.assert_array_equal(value, other[name], name)


@pytest.mark.parametrize("file", ["types.pt", "types_older.pt", "protocol_4.pt", "bfloat16.safetensors"])
def test_all_types_and_layouts_of_torch(file):
    same(tensors.read(FOLDER / file).arrays, expected(file))


def test_each_value_of_the_types_that_numpy_lacks():
    torch = pytest.importorskip("torch")
    for name, count in (("float8_e4m3fn", 1 << 8), ("float8_e5m2", 1 << 8), ("bfloat16", 1 << 16)):
        raw = np.arange(count, dtype="<u1" if count == 256 else "<u2").tobytes()
        theirs = torch.frombuffer(bytearray(raw), dtype=getattr(torch, name)).float().numpy()
        np.testing.assert_array_equal(element_types.numbers(raw, name), theirs)


def test_a_checkpoint_of_torch():
    """Of dicts in dicts, with an optimizer's state and numbers of Python and NumPy; results are torch's."""
    path, found = FOLDER / "checkpoint.pt", expected("checkpoint.pt")
    names = tensors.read(path).arrays.keys()
    assert names == {name for name in found if len(name) > 1} | {
        "optimizer.state.0.momentum_buffer", "optimizer.state.1.momentum_buffer"
    }  # fmt: skip
    lstm = nn.load(path, LSTM_PREFIX)
    assert repr(lstm) == "LSTM(3, 4, num_layers=2, bidirectional=True)"
    np.testing.assert_allclose(lstm(found["x"])[0], found["y"], atol=2e-6)
    gru = nn.load(path, "state_dict.module.decoder.", batch_first=True)
    np.testing.assert_allclose(gru(found["y"])[0], found["z"], atol=2e-6)
    head = nn.load(path, "state_dict.module.head.")
    assert repr(head) == "Linear(3, 2)"
    again = nn.LSTM(3, 4, num_layers=2, bidirectional=True, seed=0)
    again.load(path, prefix=LSTM_PREFIX)
    same(again.state_dict(), lstm.state_dict())
    half = nn.load(FOLDER / "bfloat16.safetensors", "lstm.")
    same(half.state_dict(), {name.removeprefix("lstm."): value for name, value in
                             expected("bfloat16.safetensors").items() if name.startswith("lstm.")})  # fmt: skip


def test_torch_and_safetensors_read_what_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    ours = nn.LSTM(3, 5, num_layers=2, bidirectional=True, seed=0)
    ours.save(tmp_path / "m.safetensors")
    theirs = torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True)
    theirs.load_state_dict(load_file(tmp_path / "m.safetensors"))
    x = np.random.default_rng(0).normal(size=(6, 2, 3)).astype("float32")
    with torch.no_grad():
        np.testing.assert_allclose(theirs(torch.from_numpy(x))[0].numpy(), ours(x)[0], atol=2e-6)
    for kind, options in ((torch.nn.GRU, {}), (torch.nn.RNN, {"bias": False})):
        for older in (False, True):
            made = kind(3, 4, **options)
            torch.save(made.state_dict(), tmp_path / "t.pt", _use_new_zipfile_serialization=not older)
            read = nn.load(tmp_path / "t.pt")
            with torch.no_grad():
                np.testing.assert_allclose(made(torch.from_numpy(x))[0].numpy(), read(x)[0], atol=2e-6)


@pytest.mark.parametrize("options", [
    {}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False, "pickle_protocol": 2},
])  # fmt: skip
def test_values_of_python_beside_the_tensors(options, tmp_path):
    """Training programs keep their arguments, histories and schedules with the parameters."""
    torch = pytest.importorskip("torch")
    path, theirs = tmp_path / "checkpoint.pt", torch.nn.GRU(3, 4)
    step = torch.optim.lr_scheduler.MultiStepLR(torch.optim.SGD(theirs.parameters(), 0.1), [3, 5])
    history = collections.defaultdict(list, loss=[0.5, 0.25])
    history["best"] = theirs.state_dict()
    torch.save({
        "args": argparse.Namespace(lr=0.1, out=Path("runs/1")), "scheduler": step.state_dict(), "history": history,
        "last": collections.deque([1.0, theirs.weight_ih_l0], 3), "when": datetime.datetime(2026, 1, 2, 3),
        "took": datetime.timedelta(1), "zone": datetime.timezone.utc, "cost": Decimal("1.5"), "part": Fraction(1, 3),
        "id": uuid.UUID(int=7), "space": SimpleNamespace(a=1), "frozen": frozenset([1]), "range": range(3),
        "complex": 1j, "bytes": bytearray(b"ab"), "none": bytearray(), "of": slice(1, 2),
        "counts": collections.Counter("abb"), "classes": [int, float, dict], "model": theirs.state_dict(),
    }, path, **options)  # fmt: skip
    for prefix in ("model.", "history.best."):
        same(nn.load(path, prefix).state_dict(), {n: v.numpy() for n, v in theirs.state_dict().items()})
    torch.save({"model": theirs.state_dict(), "loss": torch.nn.MSELoss()}, path, **options)
    message_of(ValueError, lambda: nn.load(path, "model."), "it has an object of torch.nn.modules.loss.MSELoss")


def test_a_program_of_torchscript(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"N.")
        archive.writestr("m/code/__torch__.py", b"class Model: " * 99, zipfile.ZIP_DEFLATED)
        archive.writestr("m/constants.pkl", b"N.")
    message_of(ValueError, lambda: nn.load(tmp_path / "m.pt"), "a program of TorchScript; save the parameters alone")


def test_files_without_checksums(tmp_path):
    torch = pytest.importorskip("torch")
    if not hasattr(torch.serialization, "set_crc32_options"):
        pytest.skip("this torch writes checksums always")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "m.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert nn.load(tmp_path / "m.pt").in_features == 3


@cell(gates="f g o", states="h c", vectors="p")
def coupled(f, g, o, h, c, p):
    """A cell whose forget gate sees the cell state."""
    f = sigmoid(f + p * c)
    c = f * c + (1 - f) * tanh(g)
    return sigmoid(o) * tanh(c), c


NETWORKS = [
    lambda: nn.LSTM(3, 5, 2, bidirectional=True, dropout=0.2, batch_first=True),
    lambda: nn.GRU(2, 3, bias=False, reverse=True, dtype="float64"),
    lambda: nn.RNN(2, 3, nonlinearity="relu", stateful=True),
    lambda: nn.RNN(2, 3, recurrent_dropout=0.1, learn_initial_state=True),
    lambda: nn.Recurrent(coupled, 3, 4, 2),
    lambda: nn.Recurrent(cells.lstm_peephole, 3, 4),
    lambda: nn.Recurrent(cells.gru_reset_before, 3, 4, learn_initial_state=True),
    lambda: nn.Linear(3, 2),
    lambda: nn.Linear(3, 2, bias=False, dtype="float64"),
]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("make", NETWORKS)
def test_a_network_from_its_file_alone(make, suffix, tmp_path):
    path, network = tmp_path / f"m{suffix}", make()
    network.save(path)
    found = nn.load(path)
    assert type(found) is type(network)
    assert repr(found) == repr(network)
    assert getattr(found, "cell", None) is getattr(network, "cell", None)
    same(found.state_dict(), network.state_dict())
    other = make()
    other.load(str(path))
    same(other.state_dict(), network.state_dict())
    before = path.read_bytes()
    network.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_npz_is_numpys(tmp_path):
    """`numpy.load` sees the arrays alone, and what `numpy.savez` writes is read, compressed or not."""
    network = nn.GRU(3, 4, seed=0)
    network.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as archive:
        same(dict(archive), network.state_dict())
        network.load_state_dict(archive)
    for write in (np.savez, np.savez_compressed):
        state = {f"a.{name}": np.asfortranarray(value) for name, value in network.state_dict().items()}
        write(tmp_path / "n.npz", **state)
        same(nn.load(tmp_path / "n.npz", "a.").state_dict(), network.state_dict())


def test_safetensors_is_its_librarys(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    state = {
        "a": np.arange(3, dtype="i8"), "b": np.float16([1, 2, 3]), "none": np.zeros((0, 3), "f4"),
        "number": np.array(2.5), "flags": np.array([True, False]), "byte": np.arange(3, dtype="u1"),
    }  # fmt: skip
    tensors.write(str(tmp_path / "ours.safetensors"), state, {"é": "\n"})
    same(library.load_file(tmp_path / "ours.safetensors"), state)
    library.save_file(state, tmp_path / "theirs.safetensors", {"é": "\n"})
    found = tensors.read(tmp_path / "theirs.safetensors")
    same(found.arrays, state)
    assert found.metadata == {"é": "\n"}


def test_a_class_of_ones_own_and_a_cell_that_is_given(tmp_path):
    class Mine(nn.LSTM):
        pass

    Mine(2, 3, seed=0).save(tmp_path / "m.npz")
    assert type(nn.load(tmp_path / "m.npz")) is nn.LSTM
    np.savez(tmp_path / "n.npz", **nn.Recurrent(coupled, 2, 3, seed=0).state_dict())
    assert nn.load(tmp_path / "n.npz", cell=coupled, batch_first=True).batch_first
    np.savez(tmp_path / "n.npz", **nn.RNN(2, 3, nonlinearity="relu").state_dict())
    assert nn.load(tmp_path / "n.npz", cell=cells.rnn_relu).nonlinearity == "relu"
    assert nn.load(tmp_path / "n.npz").nonlinearity == "tanh"
    nn.LSTM(2, 3, batch_first=True).save(tmp_path / "m.npz")
    assert not nn.load(tmp_path / "m.npz", batch_first=False).batch_first
    assert nn.load(tmp_path / "m.npz", cell=cells.lstm).batch_first


def written(path, **state):
    np.savez(path, **state)
    return path


def test_what_does_not_fit_says_what_would(tmp_path):
    path, lstm = FOLDER / "checkpoint.pt", nn.LSTM(3, 4, num_layers=2, bidirectional=True, seed=0)
    before = lstm.state_dict()
    decoder = "prefix='state_dict.module.decoder.'"
    cases = {
        ("no such parameters under the prefix ''", f"give prefix={LSTM_PREFIX!r}"): lambda: lstm.load(path),
        ("no such parameters", f"give prefix={LSTM_PREFIX!r} "[:-1]): lambda: lstm.load(path, LSTM_PREFIX[:-1]),
        ("no recurrent or linear", f"one of {decoder}"): lambda: nn.load(path),
        ("lacks weight_ih_l2", "and 8 more"): lambda: nn.LSTM(3, 4, 4, bidirectional=True).load(path, LSTM_PREFIX),
        ("has bias_hh_l1", "too, under"): lambda: nn.LSTM(3, 4, bidirectional=True).load(path, LSTM_PREFIX),
        ("weight_ih_l0' has shape (16, 3)", "(20, 3)"): lambda: nn.LSTM(3, 5, 2, bidirectional=True).load(
            path, LSTM_PREFIX
        ),
        ("of 5 gates", "give cell"): lambda: nn.load(written(tmp_path / "g.npz", weight_hh_l0=np.ones((10, 2)))),
        ("no matrix 'weight_ih_l0'",): lambda: nn.load(written(tmp_path / "h.npz", weight_hh_l0=np.ones((8, 2)))),
        ("no matrix 'weight'",): lambda: nn.load(written(tmp_path / "w.npz", weight=np.ones(3))),
        ("'bias' has shape (3,)", "(2,)"): lambda: nn.load(
            written(tmp_path / "b.npz", weight=np.ones((2, 2)), bias=np.ones(3))
        ),
        ("lacks bias_ih_l1",): lambda: nn.load(
            written(tmp_path / "l.npz", **{name: value for name, value in nn.LSTM(2, 2, 2).state_dict().items()
                                           if name != "bias_ih_l1"})
        ),
        ("cell is of recurrent networks",): lambda: nn.load(path, "state_dict.module.head.", cell=cells.lstm),
        ("batch_first is of recurrent",): lambda: nn.load(path, "state_dict.module.head.", batch_first=True),
    }  # fmt: skip
    for needed, call in cases.items():
        message_of(ValueError, call, *needed)
    same(lstm.state_dict(), before)
    nn.GRU(2, 3).save(tmp_path / "gru.npz")
    message_of(ValueError, lambda: nn.load(tmp_path / "gru.npz", cell=cells.lstm), "cell 'gru' and not of 'lstm'")
    message_of(TypeError, lambda: nn.load(path, cell="lstm"), "cell is 'lstm'")
    message_of(TypeError, lambda: lstm.load(path, prefix=3), "prefix is 3 of type int")
    message_of(TypeError, lambda: lstm.load(3), "path is 3 of type int")
    message_of(FileNotFoundError, lambda: lstm.load(tmp_path / "none.npz"), "there is no such file")


def test_suffixes(tmp_path):
    lstm = nn.LSTM(2, 3, seed=0)
    known = ".safetensors, .npz"
    for name, needed in {
        "m.foo": "'.foo' stands for no format", "m": "which has no suffix", "m.pt": "a name for a file of torch's",
        "m.keras": "a name for a file of Keras's", "m.nblstm": "a name for a file of nblstm's",
    }.items():  # fmt: skip
        path = tmp_path / name
        message_of(ValueError, lambda path=path: lstm.save(path), needed, f"in one of {known}")
        if name != "m.pt":
            path.write_bytes(b"x")
            for read in (lstm.load, nn.load):
                message_of(ValueError, lambda p=path, r=read: r(p), needed, f"{known}, .pt, .pth, .bin, .ckpt")
    message_of(FileNotFoundError, lambda: lstm.save(tmp_path / "none" / "m.npz"), "there is no folder")
    lstm.save(tmp_path / "M.SAFETENSORS")
    nn.load(tmp_path / "M.SAFETENSORS")
    os.replace(tmp_path / "M.SAFETENSORS", tmp_path / "m.npz")
    message_of(ValueError, lambda: nn.load(tmp_path / "m.npz"), "is a file of safetensors and not a file of NumPy's")
    for suffix in (".pth", ".bin", ".ckpt", ".PT"):
        (tmp_path / f"t{suffix}").write_bytes((FOLDER / "protocol_4.pt").read_bytes())
        assert nn.load(tmp_path / f"t{suffix}").hidden_size == 3


def test_a_description_too_long_for_a_comment(tmp_path):
    def long(z, h):
        return tanh(z + h)

    long.__doc__ = "A cell with much to say. " * 3000
    long = cell(gates="z", states="h")(long)
    network = nn.Recurrent(long, 1, 1, seed=0)
    message_of(ValueError, lambda: network.save(tmp_path / "m.npz"), "ends in .safetensors")
    network.save(tmp_path / "m.safetensors")
    assert os.listdir(tmp_path) == ["m.safetensors"]


def model(units=4, seed=0, name="l"):
    layers = [Bidirectional(LSTM(units), name=name), LayerNormalization(name="n"), Dense(2, name="d")]
    return Sequential([Input((5, 3)), *layers], seed=seed)


def test_weights_of_a_model(tmp_path):
    path, first = tmp_path / "w.safetensors", model()
    first.save_weights(path)
    second = model(seed=1)
    second.load_weights(str(path))
    assert all(map(np.array_equal, first.get_weights(), second.get_weights()))
    found = tensors.read(path).arrays
    assert {"l.forward_kernel", "l.backward_bias", "n.gamma", "d.kernel"} < found.keys()
    before = second.get_weights()
    other = model(5)
    message_of(
        ValueError, lambda: other.load_weights(path), "l.forward_kernel has shape (3, 16); it needs shape (3, 20)"
    )
    other = model(name="q")
    message_of(ValueError, lambda: other.load_weights(path), "lacks q.", "has l.", "which the model lacks")
    message_of(FileExistsError, lambda: first.save_weights(path, overwrite=False), "overwrite=True")
    path.write_bytes(path.read_bytes()[:-1])
    message_of(ValueError, lambda: second.load_weights(path), "cannot be read as a file of safetensors")
    assert all(map(np.array_equal, second.get_weights(), before))
    second.compile("sgd", "mse")
    second.fit(np.ones((4, 5, 3)), np.ones((4, 2)), verbose=0, callbacks=[
        ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_weights_only=True)
    ])  # fmt: skip
    second.load_weights(tmp_path / "1.safetensors")


def test_a_layer(tmp_path):
    layer = Dense(3)
    for call in (layer.save, layer.load):
        message_of(ValueError, lambda call=call: call(tmp_path / "d.npz") if call == layer.save else call(
            FOLDER / "types.pt"), "has no parameters")  # fmt: skip
    layer.build((None, 2))
    layer.save(tmp_path / "d.npz")
    other = Dense(3)
    other.build((None, 2))
    other.load(tmp_path / "d.npz")
    same(other.state_dict(), layer.state_dict())
    message_of(ValueError, lambda: nn.load(tmp_path / "d.npz"), "no recurrent or linear network")


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path, monkeypatch):
    """The old file stays, whole, where the new one is read again and differs."""
    path = tmp_path / "m.safetensors"
    first = nn.LSTM(2, 3, seed=0)
    first.save(path)
    monkeypatch.setattr(tensors.SafetensorsFile, "array", lambda self, name: np.zeros(3))
    message_of(OSError, lambda: nn.LSTM(2, 3, seed=1).save(path), "has other numbers")
    monkeypatch.undo()
    same(nn.load(path).state_dict(), first.state_dict())
    assert os.listdir(tmp_path) == [path.name]
