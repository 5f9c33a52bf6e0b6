"""One file for plain values and arrays: a zip of config.json and .npy members, written whole or not at all.

Nothing in a file is executed and no size in it is believed: members are stored as they are, each with its checksum, and
no more memory is taken than the file is long.
"""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.files import atomic, npz
from nblstm.files.content import FAULTS, in_short, open_zip, parsed
from nblstm.files.formats import advice, check_target
from nblstm.process.uninterrupted import uninterrupted

FORMAT, VERSION = "nblstm", 1
CONFIG = "config.json"

#: In config.json, the place of an array is taken by a dict that has its member's name under this key.
ARRAY = "__array__"

#: Values nest a few levels deep; Python's own limit would come as a RecursionError somewhere.
DEPTH = 60


def write(path, kind: str, content: dict[str, Any]) -> None:
    """Write ``content`` to a file, in place of one that is there.

    The new file takes the old one's place when it is complete and on the disk, and has been read again: who is killed
    before leaves the old one. ``content`` has None, bools, numbers, strings, arrays of numbers, and lists and dicts of
    these: with anything else in it nothing is written.
    """
    path = validate.target_path("filepath", path)
    check_target("filepath", path)
    arrays: list[np.ndarray] = []
    values = _taken_out(content, arrays)
    config = json.dumps({"format": FORMAT, "version": VERSION, "kind": kind, "content": values}).encode()
    atomic.replace(path, lambda file: _write_members(file, config, arrays), lambda file: _check(file, kind))


def check_content(content: dict[str, Any]) -> None:
    """Raise what `write` would, of a content that it cannot write."""
    _taken_out(content, [])


def _check(file, kind: str) -> None:
    """Read a file that was just written, one array after the other."""
    with zipfile.ZipFile(file) as archive:
        _, members = _config_and_members(file, archive, (kind,))
        for info in members:
            npz.array_of(archive, info)


def read(path, *kinds: str) -> dict[str, Any]:
    """The content that `write` was given with one of these kinds; arrays are read-only."""
    return uninterrupted(_read_file, validate.source_path("filepath", path), kinds)


def _read_file(path: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    """`read`; `uninterrupted`, as an exception of a handler could come between opening and ``with``."""
    with open(path, "rb") as file:
        try:
            return _read_members(file, kinds)
        except FAULTS as error:
            known = advice(file)
            if known is not None:
                raise ValueError(f"{path!r} {known}") from None
            reason = in_short(error) or type(error).__name__
            raise ValueError(f"{path!r} is no file of nblstm's, or it is damaged: {reason}") from None


def _write_members(file, config: bytes, arrays: list[np.ndarray]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(npz.member(CONFIG), config)
        for k, array in enumerate(arrays):
            npz.write_member(archive, f"{k}.npy", array)


def _read_members(file, kinds: tuple[str, ...]) -> dict[str, Any]:
    with open_zip(file, os.fstat(file.fileno()).st_size) as archive:
        config, members = _config_and_members(file, archive, kinds)
        arrays = {info.filename: npz.array_of(archive, info) for info in members}
    content = _put_back(config.get("content"), arrays)
    if not isinstance(content, dict):
        raise ValueError(f"its {CONFIG} has no content")
    return content


def _config_and_members(file, archive: zipfile.ZipFile, kinds: tuple[str, ...]):
    """The content of config.json, and the members that are arrays."""
    size = os.fstat(file.fileno()).st_size
    members = npz.members_of(archive, size)
    if CONFIG not in members:
        raise ValueError(f"it has no {CONFIG}")
    config = parsed(archive.read(CONFIG), size, f"its {CONFIG}")
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"its {CONFIG} is not nblstm's")
    if config.get("version") != VERSION:
        raise ValueError(f"its format is version {config.get('version')!r} and this nblstm reads {VERSION}")
    if config.get("kind") not in kinds:
        raise ValueError(f"it holds a {config.get('kind')!r} and not a {kinds[0]!r}")
    return config, [info for name, info in members.items() if name != CONFIG]


def _taken_out(value, arrays: list[np.ndarray], depth: int = 0) -> Any:
    """``value`` without its arrays, which are appended to ``arrays``."""
    if depth > DEPTH:
        raise TypeError(
            f"values nest more than {DEPTH} levels deep, which cannot be saved; do not let them hold themselves"
        )
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub" or value.dtype.itemsize > 8:
            raise TypeError(f"an array has dtype {value.dtype}, which cannot be saved; give an array of numbers")
        arrays.append(value)
        return {ARRAY: f"{len(arrays) - 1}.npy"}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value) or ARRAY in value:
            raise TypeError(f"a dict has the keys {list(value)}, which cannot be saved; give strings")
        return {key: _taken_out(entry, arrays, depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_taken_out(entry, arrays, depth + 1) for entry in value]
    if isinstance(value, int) and value.bit_length() > 1024:  # no float, and Python refuses to read 4,300 digits
        raise TypeError(f"a number has {value.bit_length()} bits, which cannot be saved; give one of 1,024 or fewer")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} is of type {type(value).__name__}, which cannot be saved; give plain values and arrays")


def _put_back(value, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if ARRAY in value:
            name = value[ARRAY]
            if not isinstance(name, str) or name not in arrays:
                raise ValueError(f"its {CONFIG} names the array {name!r}, which it does not have")
            return arrays[name]
        return {key: _put_back(entry, arrays) for key, entry in value.items()}
    if isinstance(value, list):
        return [_put_back(entry, arrays) for entry in value]
    return value
