"""Arrays by name in files that other libraries share: safetensors, .npz and, to be read, torch's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from nblstm.arguments import validate
from nblstm.files import atomic, formats, npz, safetensors
from nblstm.files.content import FAULTS, in_short
from nblstm.files.npz import NpzFile
from nblstm.files.safetensors import SafetensorsFile
from nblstm.files.torch_file import TorchFile
from nblstm.process.uninterrupted import uninterrupted

READERS: dict[formats.Format, Callable[[Any, int], Any]] = {
    formats.SAFETENSORS: SafetensorsFile, formats.NPZ: NpzFile, formats.TORCH: TorchFile,
}  # fmt: skip
WRITERS = {formats.SAFETENSORS: safetensors.write, formats.NPZ: npz.write}


class Tensors(NamedTuple):
    """Arrays of a file by name, read-only, and texts that belong to them."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


def read(path, choose: Callable[[list[str]], Iterable[str]] = list, name: str = "path") -> Tensors:
    """Read arrays of a file whose suffix is one of `READERS`.

    Parameters
    ----------
    path : str or PathLike
    choose : callable, optional
        Given the names of all arrays, it returns those that are to be read, or raises what is wrong with them.
    name : str
        Of the argument, for messages.

    Raises
    ------
    ValueError
        If the file is damaged or of another format, or the suffix is of none that is read.
    OSError
        If it cannot be read.
    """
    path = validate.source_path(name, path)
    format = formats.by_suffix(name, path, READERS, "tensors are read")
    return uninterrupted(_read, path, format, choose)


def _read(path: str, format: formats.Format, choose: Callable[[list[str]], Iterable[str]]) -> Tensors:
    with open(path, "rb") as file:
        try:
            reader = READERS[format](file, os.fstat(file.fileno()).st_size)
        except FAULTS as error:
            raise _blamed(path, file, format, error) from None
        names = choose(reader.names)
        try:
            return Tensors({name: reader.array(name) for name in names}, reader.metadata)
        except FAULTS as error:
            raise _blamed(path, file, format, error) from None


def _blamed(path: str, file, format: formats.Format, error: Exception) -> ValueError:
    """The error for a file that cannot be read."""
    error.__traceback__ = None  # with what was read so far
    found = formats.by_content(file)
    if found not in (None, format):
        return ValueError(f"{path!r} is {found.noun} and not {format.noun}, as its name says; {found.advice}")
    reason = in_short(error) or type(error).__name__
    return ValueError(f"{path!r} cannot be read as {format.noun}: {reason}")


def target(path, name: str = "path", use: str = "a network is saved") -> str:
    """Return the path of a file that `write` can write, before there is any work for it."""
    path = validate.target_path(name, path)
    formats.by_suffix(name, path, WRITERS, use)
    return path


def write(path: str, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays and texts to a path from `target`, in place of a file that is there; see `atomic.replace`."""
    format = formats.by_suffix("path", path, WRITERS, "tensors are written")

    def check(file) -> None:
        reader = READERS[format](file, os.fstat(file.fileno()).st_size)
        for name, array in arrays.items():
            if reader.array(name).tobytes() != array.tobytes():
                raise OSError(f"{path!r} was written and has other numbers when it is read again; is the disk damaged?")

    atomic.replace(path, lambda file: WRITERS[format](file, arrays, metadata), check)
