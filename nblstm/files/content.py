"""Checks of what a file holds, and the errors that a damaged one makes."""

from __future__ import annotations

import json
import struct
import tokenize
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np

#: Errors of zipfile, numpy.lib.format, json, and of all that is made of a file's content, where the file is damaged.
#: Others are not the file's fault, as those of a signal's handler.
FAULTS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError, MemoryError,
    NameError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error, tokenize.TokenError,
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error,
)  # fmt: skip

#: Begins the last record of a zip, before a comment of so many bytes at most.
_ZIP_END, LONGEST_COMMENT = b"PK\5\6", 65535


def in_short(error: Exception) -> str:
    """The error's text on one line, cut: it may quote a file's content, which can be anything."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]} ..."


def listed(names: list[str], shown: int = 8) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:shown]) + f" and {len(names) - shown} more" * (len(names) > shown)


def reason(error: Exception, writer: str) -> str:
    """The reason why a file's content was not accepted, in a sentence; ``writer`` is what writes such files.

    A time limit that a signal's handler sets, which is one of `FAULTS` too, is raised again.
    """
    if isinstance(error, TimeoutError) and error.errno is None:
        raise error
    if type(error) in (TypeError, ValueError):  # nblstm's own, which say it
        return in_short(error)
    return f"its content is not what {writer} writes ({type(error).__name__}: {in_short(error)})"


def expect(label: str, value, **kinds) -> None:
    """Refuse what is not a dict of exactly these fields, each of its type or one of its types."""
    if not isinstance(value, dict) or set(value) != set(kinds):
        came = f"a dict of {', '.join(value)}" if isinstance(value, dict) else f"of type {type(value).__name__}"
        raise ValueError(f"{label} is {came}; it needs to be a dict of {', '.join(kinds)}")
    for name, kind in kinds.items():
        if not isinstance(value[name], kind):
            raise ValueError(f"{name} of {label} is of type {type(value[name]).__name__}, which does not fit")


def set_generator(generator: np.random.Generator, state) -> None:
    """Set the state of a source of randomness."""
    try:
        generator.bit_generator.state = state
    except FAULTS as error:
        raise ValueError(f"a random state is none of a {type(generator.bit_generator).__name__}") from error


class SizeLimit:
    """A limit on the memory that the description of a file's content takes: ten times the file, and 4 MB.

    A byte of JSON or of a pickle can stand for an object of Python that takes a hundred.
    """

    def __init__(self, size: int):
        self._left = 10 * size + (4 << 20)

    def add(self, count: int, what: str) -> None:
        """Count bytes that ``what`` is about to take; ValueError where they are too many."""
        self._left -= count
        if self._left < 0:
            raise ValueError(f"{what} would take more than ten times the memory that the file is long")


def parsed(text: bytes, size: int, what: str, **kwargs) -> Any:
    """The value of a JSON text in a file of so many bytes; ``kwargs`` are those of `json.loads`.

    Each value behind one of the signs counted becomes an object of Python, the larger ones about 100 bytes.
    """
    SizeLimit(size).add(len(text) + 100 * sum(map(text.count, (b",", b"[", b"{"))), what)
    return json.loads(text.decode(), **kwargs)


def open_zip(file: BinaryIO, size: int) -> zipfile.ZipFile:
    """Open an archive whose directory is at most 3/5 of the file, as each member has 30 bytes and its name once more.

    An entry of the directory has 46 bytes, and `zipfile` makes an object of 700 for it before anything can be checked.

    Raises
    ------
    ValueError
        If the directory is larger, or there are two places for it.
    """
    tail = min(size, LONGEST_COMMENT + 22 + 76)
    file.seek(size - tail)
    end = file.read(tail)
    at = tail - 22
    if not (end[at:].startswith(_ZIP_END) and end.endswith(b"\0\0")):  # it has a comment
        at = end.rfind(_ZIP_END)
    if at >= 0:
        length = int.from_bytes(end[at + 12 : at + 16], "little")
        if end[max(at - 20, 0) :].startswith(b"PK\6\7"):  # zip64: numbers of 8 bytes, in the 56 before
            record = at - 76
            place = int.from_bytes(end[at - 12 : at - 4], "little")
            if record < 0 or not end[record:].startswith(b"PK\6\6") or place != size - tail + record:
                raise ValueError("the end of the archive is not where it says")
            length = int.from_bytes(end[record + 40 : record + 48], "little")
        if 5 * length > 3 * size:
            raise ValueError("the archive's directory is most of the file")
    file.seek(0)
    return zipfile.ZipFile(file)
