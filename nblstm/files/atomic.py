"""Atomic writing of a file: aside, to the disk, read again, and only then in place of the old one."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from nblstm.process.uninterrupted import uninterrupted

#: The name of a file that is being written, and is left over if that was killed.
PARTIAL = ".{}.{}.partial"


def replace(path: str, write: Callable[[BinaryIO], object], check: Callable[[BinaryIO], object] | None = None) -> None:
    """Write a file, in place of one that is there; who is killed before the end leaves the old one whole.

    Parameters
    ----------
    path : str
        A link is followed: the file that it leads to is replaced. Who may read and write it stays as it was.
    write : callable
        Given a new file, open for writing and reading (``file.name`` is its path), it writes the content.
    check : callable, optional
        Given the file again, open for reading, it raises what it finds wrong; then the old file stays.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    uninterrupted(_replace, Path(os.path.realpath(path)), write, check)


def _replace(target: Path, write: Callable, check: Callable | None) -> None:
    """`replace`; to be called uninterrupted, as zipfile loses exceptions of signals' handlers."""
    partial = target.with_name(PARTIAL.format(target.name, secrets.token_hex(4)))
    file = open(partial, "x+b")  # noqa: SIM115  # a file of that name that is there is not to be removed
    try:
        if target.exists():
            shutil.copymode(target, partial)
        with file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            with open(partial, "rb") as written:
                check(written)
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Have the folder's own entry on the disk, where folders can be opened: not on Windows."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
