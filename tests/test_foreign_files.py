"""Files of Keras, torch and others: their names are not written under, and their contents are named."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
from messages import message_of

from nblstm.layers import Dense, Input
from nblstm.models import Sequential, load_model, save_model
from nblstm.training import callbacks

X = np.ones((4, 3))


def compiled():
    model = Sequential([Input((3,)), Dense(2)], seed=0)
    model.compile("sgd", "mse")
    return model


NAMES = ["m.pt", "m.pth", "m.npz", "m.npy", "m.safetensors", "m.onnx", "m.pkl", "M.PICKLE", "m.data"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_other_formats_are_not_written(name, tmp_path):
    model, path = compiled(), tmp_path / name
    root = str(path)[: -len(path.suffix)]
    needed = f"filepath is {str(path)!r}, ", " for ", f"give another name, such as '{root}.nblstm'"
    weights = path.suffix == ".safetensors"  # which save_weights writes
    for write in (model.save, lambda path: save_model(model, path), *[model.save_weights] * (not weights)):
        message_of(ValueError, lambda write=write: write(path), *needed)
    for weights_only in (False,) if weights else (True, False):
        message_of(ValueError, lambda w=weights_only: callbacks.ModelCheckpoint(path, save_weights_only=w), *needed)
    fields = tmp_path / "folder" / f"{{epoch}}-{{loss:.2f}}{path.suffix}"
    message_of(ValueError, lambda: callbacks.ModelCheckpoint(fields), " for ", ".nblstm'")
    assert not list(tmp_path.iterdir())


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(88)
TENSORS = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()

#: As the libraries write them, or begin to.
FILES = {
    "keras": (
        zipped(**{"metadata.json": '{"keras_version": "3.12.0"}', "config.json": '{"module": "keras"}',
                  "model.weights.h5": HDF5}),
        "is a file of Keras's", "set_weights(keras_model.get_weights())",
    ),
    "h5": (HDF5, "is a file of Keras's", "set_weights(keras_model.get_weights())"),
    "h5 behind 512 bytes": (bytes(512) + HDF5, "is a file of Keras's", "set_weights(keras_model.get_weights())"),
    "pt": (zipped(**{"m/data.pkl": b"\x80\x02.", "m/version": "3"}), "is a file of torch's", "ends in .pt"),
    "old pt": (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"\x80\x02.", "is a file of torch's", "ends in .pt"),
    "npz": (zipped(**{"a.npy": npy(np.ones(3)), "b.npy": npy(np.ones(2))}), "is a file of NumPy's", "numpy.load"),
    "npy": (npy(np.ones(3)), "is an array of NumPy's", "numpy.load"),
    "safetensors": (
        struct.pack("<Q", len(TENSORS)) + TENSORS + bytes(8), "is a file of safetensors", "ends in .safetensors",
    ),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.4.0", "is an ONNX model", "nblstm.onnx.load"),
    "pickle": (pickle.dumps({"w": [1.0]}), "is a pickle, which may execute anything", "if you trust it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_files_of_other_libraries_are_named(kind, tmp_path):
    content, *needed = FILES[kind]
    path = tmp_path / "m"
    path.write_bytes(content)
    model = compiled()
    before = model.get_weights()
    for read in (load_model, Sequential.load, model.load_weights):
        message_of(ValueError, lambda read=read: read(path), repr(str(path)), *needed, "none of nblstm's")
    assert all(map(np.array_equal, model.get_weights(), before))


@pytest.mark.parametrize("kind", ["pt", "npz", "safetensors"])
def test_the_advice_fits_a_file_of_the_right_name_too(kind, tmp_path):
    path = tmp_path / f"m.{kind}"
    path.write_bytes(FILES[kind][0])
    message_of(
        ValueError, lambda: load_model(path), "load() of a network of nblstm.nn", f"under a name that ends in .{kind}"
    )


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", b"\x08", b"\x08\x08", bytes(3000), b"text\n" * 999])
def test_what_is_no_file_of_a_library(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    message_of(ValueError, lambda: load_model(tmp_path / "m"), "is no file of nblstm's, or it is damaged")
