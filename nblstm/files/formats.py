"""Formats of files: which one a suffix stands for, and which one a file is in, by its first bytes."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

from nblstm.files.content import FAULTS, open_zip


class Format(NamedTuple):
    """One kind of files: a noun for messages, and what to do with such a file where another kind was expected."""

    noun: str
    advice: str


NBLSTM = Format("a file of nblstm's", "read it with nblstm.models.load_model, or a model's load_weights()")
KERAS = Format(
    "a file of Keras's",
    "give it a name that ends in .keras or .h5, by which load_model() and load_weights() know it, or call "
    "set_weights(keras_model.get_weights())",
)
TORCH = Format(
    "a file of torch's",
    "load() of a network of nblstm.nn reads it, under a name that ends in .pt",
)
NPZ = Format(
    "a file of NumPy's",
    "load() of a network of nblstm.nn reads it, under a name that ends in .npz; a model of layers takes its arrays, "
    "from numpy.load, by set_weights()",
)
NPY = Format("an array of NumPy's", "read it with numpy.load, and give it to set_weights() or load_state_dict()")
SAFETENSORS = Format(
    "a file of safetensors",
    "load() of a network of nblstm.nn and load_weights() of a model read it, under a name that ends in .safetensors",
)
ONNX = Format("an ONNX model", "read it with nblstm.onnx.load")
PICKLE = Format(
    "a pickle, which may execute anything",
    "if you trust it, read it with pickle.load or what else wrote it, and give its arrays to set_weights()",
)

#: The format that a suffix stands for.
SUFFIXES = {
    ".nblstm": NBLSTM, ".keras": KERAS, ".h5": KERAS, ".hdf5": KERAS, ".safetensors": SAFETENSORS, ".npz": NPZ,
    ".pt": TORCH, ".pth": TORCH, ".bin": TORCH, ".ckpt": TORCH, ".npy": NPY, ".onnx": ONNX, ".pkl": PICKLE,
    ".pickle": PICKLE,
}  # fmt: skip

#: Suffixes of torch's which other programs use for files of theirs: a model may be saved under such a name.
_SHARED = (".bin", ".ckpt")

#: Suffixes of the names that models, and the weights of models, are saved under; the longest first.
MODELS = (".nblstm", ".keras", ".hdf5", ".h5")
WEIGHTS = (".weights.h5", ".nblstm", ".hdf5", ".h5", ".safetensors")

#: Suffixes of Keras's files; those of weights in several parts are refused.
KERAS_SUFFIXES = (".keras", ".h5", ".hdf5", ".weights.json")

#: HDF5's first bytes come here, since a file may begin with a block of the user's.
_HDF5, _HDF5_AT = b"\x89HDF\r\n\x1a\n", (0, 512, 1024, 2048)


def by_suffix(name: str, path: str, formats: Collection[Format], use: str) -> Format:
    """The format that a path's suffix stands for.

    Parameters
    ----------
    name, path : str
        Of the argument, for messages, and its value.
    formats : collection of Format
        Those that fit.
    use : str
        What the path is for, such as "a network is saved".

    Raises
    ------
    ValueError
        If the suffix stands for another format or for none; the message has the suffixes that fit.
    """
    suffix = os.path.splitext(path)[1]
    found = SUFFIXES.get(suffix.lower())
    if found is not None and found in formats:
        return found
    fitting = ", ".join(known for known, each in SUFFIXES.items() if each in formats)
    if found is not None:
        what = f"a name for {found.noun}"
    else:
        what = f"and {suffix!r} stands for no format" if suffix else "which has no suffix to tell its format"
    raise ValueError(f"{name} is {path!r}, {what}; {use} under a name that ends in one of {fitting}")


def check_target(name: str, path: str) -> None:
    """Refuse to write nblstm's format under a name that stands for another one."""
    root, suffix = os.path.splitext(path)
    found = SUFFIXES.get(suffix.lower(), NBLSTM)
    if found is not NBLSTM and suffix.lower() not in _SHARED:
        raise ValueError(
            f"{name} is {path!r}, a name for {found.noun}, and nblstm's own format is written here; "
            f"give another name, such as {root + '.nblstm'!r}"
        )


def suffix_of_model(name: str, path: str, weights: bool) -> str:
    """The suffix of `MODELS`, or of `WEIGHTS`, in a path that a model or its weights are written to; "" if none.

    Raises
    ------
    ValueError
        If the suffix stands for another format, or for none.
    """
    known = WEIGHTS if weights else MODELS
    fitting = next((suffix for suffix in known if path.lower().endswith(suffix)), None)
    if fitting is not None:
        return fitting
    root, suffix = os.path.splitext(path)
    if suffix.lower() in _SHARED or not suffix[1:2].isalpha():  # in "best-0.25", the end of a number
        return ""
    found = SUFFIXES.get(suffix.lower())
    what = "and {suffix!r} stands for no format" if found is None else "a name for {found.noun}"
    kind = "the weights of models are" if weights else "models are"
    raise ValueError(
        f"{name} is {path!r}, {what.format(suffix=suffix, found=found)}; {kind} saved under names that end in "
        f"{', '.join(known)}, so give another name, such as {root + '.nblstm'!r}"
    )


def advice(file) -> str | None:
    """Say what a file that is not nblstm's is, and what to do with it; None if that is not known."""
    kind = by_content(file)
    return None if kind in (None, NBLSTM) else f"is {kind.noun} and none of nblstm's; {kind.advice}"


def by_content(file) -> Format | None:
    """The format of an open file by its first bytes, or the members of its archive; None if that is not known."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(2048 + len(_HDF5))
    if any(head.startswith(_HDF5, at) for at in _HDF5_AT):
        return KERAS
    if head.startswith(b"PK"):
        return _kind_of_zip(file, length)
    if head.startswith(b"\x93NUMPY"):
        return NPY
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return TORCH if b"l\xfc\x9cF\xf9 j\xa8P\x19." in head[:32] else PICKLE
    if 8 < int.from_bytes(head[:8], "little") + 8 <= length and head[8:9] == b"{":
        return SAFETENSORS
    # A protocol buffer that begins with the version of the format and then names its producer, graph or operators.
    if len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 32 and head[2] in (0x12, 0x3A, 0x42):
        return ONNX
    return None


def _kind_of_zip(file, size: int) -> Format | None:
    try:
        with open_zip(file, size) as archive:
            names = archive.namelist()
    except FAULTS:  # it is damaged, whosever it was
        return None
    if "config.json" in names and ("metadata.json" in names or any(name.endswith(".h5") for name in names)):
        return KERAS
    if any(name.endswith("/data.pkl") for name in names):
        return TORCH
    if "config.json" in names:
        return NBLSTM
    return NPZ if names and all(name.endswith(".npy") for name in names) else None
