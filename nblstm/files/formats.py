"""Formats of files: which one a name stands for, and which one a file is in, by its first bytes."""

from __future__ import annotations

import os
import zipfile

from nblstm.files.content import FAULTS

#: Kinds of files: a name, and what to do with them.
_KERAS = (
    "a file of Keras's",
    "read it with Keras, and call set_weights(keras_model.get_weights()) on a model of the same layers",
)
_TORCH = (
    "a file of torch's",
    "read it with torch, and give its arrays to load_state_dict() of a network of nblstm.nn, or to set_weights()",
)
_ARRAYS = (
    "a file of NumPy's",
    "read it with numpy.load, and give its arrays to load_state_dict() of a network of nblstm.nn, or to set_weights()",
)
_TENSORS = (
    "a file of safetensors",
    "read it with safetensors.numpy.load_file, and give that to load_state_dict() of a network of nblstm.nn, or its "
    "arrays to set_weights()",
)
_ONNX = (
    "an ONNX model",
    "take the parameters from where it was exported, and give them to load_state_dict() or set_weights()",
)
_PICKLE = (
    "a pickle, which may execute anything",
    "if you trust it, read it with pickle.load or what else wrote it, and give its arrays to set_weights()",
)

#: Whose files have a name that ends so.
_ENDINGS = {
    ".keras": _KERAS, ".h5": _KERAS, ".hdf5": _KERAS, ".pt": _TORCH, ".pth": _TORCH, ".npz": _ARRAYS, ".npy": _ARRAYS,
    ".safetensors": _TENSORS, ".onnx": _ONNX, ".pkl": _PICKLE, ".pickle": _PICKLE,
}  # fmt: skip

#: HDF5's first bytes come here, since a file may begin with a block of the user's.
_HDF5, _HDF5_AT = b"\x89HDF\r\n\x1a\n", (0, 512, 1024, 2048)


def check_target(name: str, path: str) -> None:
    """Refuse to write nblstm's format under a name that stands for another one."""
    root, ending = os.path.splitext(path)
    if ending.lower() in _ENDINGS:
        raise ValueError(
            f"{name} is {path!r}, a name for {_ENDINGS[ending.lower()][0]}, and nblstm writes its own format alone; "
            f"give another name, such as {root + '.nblstm'!r}"
        )


def advice(file) -> str | None:
    """Say what a file that is not nblstm's is, and what to do with it; None if that is not known."""
    kind = _kind(file)
    return None if kind is None else f"is {kind[0]} and none of nblstm's; {kind[1]}"


def _kind(file) -> tuple[str, str] | None:
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(2048 + len(_HDF5))
    if any(head.startswith(_HDF5, at) for at in _HDF5_AT):
        return _KERAS
    if head.startswith(b"PK"):
        return _kind_of_zip(file)
    if head.startswith(b"\x93NUMPY"):
        return _ARRAYS
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return _TORCH if b"l\xfc\x9cF\xf9 j\xa8P\x19." in head[:32] else _PICKLE
    if 8 < int.from_bytes(head[:8], "little") + 8 <= length and head[8:9] == b"{":
        return _TENSORS
    # A protocol buffer that begins with the version of the format and then names its producer, graph or operators.
    if len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 32 and head[2] in (0x12, 0x3A, 0x42):
        return _ONNX
    return None


def _kind_of_zip(file) -> tuple[str, str] | None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except FAULTS:  # it is damaged, whosever it was
        return None
    if "config.json" in names and ("metadata.json" in names or any(name.endswith(".h5") for name in names)):
        return _KERAS
    if any(name.endswith("/data.pkl") for name in names):
        return _TORCH
    return _ARRAYS if names and all(name.endswith(".npy") for name in names) else None
