"""Compiled kernels on disk: one file each, named by everything that it was compiled from.

Numba's own ``cache=True`` keys a function by its file's date and the identity of what it closes over: it
misses in every new process for functions that call others, and hits when a callee in another file has changed.
Here the file's name is a hash of the contents that matter, so there is no index to lock and nothing to
invalidate; a file is written aside and moved into place, so readers see it whole or not at all; and it carries
its own checksum, so a damaged one is a miss.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import uuid
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

import llvmlite
import numba

from nblstm.codegen.target import processor

_CHECKSUM = 32  # bytes of SHA-256 in front of the payload


def folder() -> Path:
    """Where compiled kernels are kept.

    ``NBLSTM_CACHE_DIR``, else ``NUMBA_CACHE_DIR``, else the platform's cache folder for ``nblstm``.
    """
    own = os.environ.get("NBLSTM_CACHE_DIR")
    if own:
        return Path(own)
    numbas = os.environ.get("NUMBA_CACHE_DIR")
    if numbas:
        return Path(numbas) / "nblstm"
    import platformdirs  # here, as it takes 2 ms of importing nblstm

    return Path(platformdirs.user_cache_dir("nblstm", appauthor=False))


@cache
def environment() -> str:
    """Everything but the kernel's own text that its machine code for this CPU depends on."""
    parts = (
        numba.__version__, llvmlite.__version__, platform.python_version(), str(processor()), str(numba.config.OPT)
    )  # fmt: skip
    return "\n".join((*parts, sources("codegen", "cpu")))


def sources(*packages: str) -> str:
    """A hash of the source files of some of nblstm's packages."""
    digest = hashlib.sha256()
    for package in packages:
        for source in sorted(files("nblstm").joinpath(package).iterdir(), key=lambda entry: entry.name):
            if source.name.endswith(".py"):
                digest.update(source.read_bytes())
    return digest.hexdigest()


def key(text: str, surroundings: str | None = None) -> str:
    """Hexadecimal name of a kernel with this text, in this environment or for other surroundings."""
    return hashlib.sha256(f"{surroundings or environment()}\n{text}".encode()).hexdigest()[:32]


def exists(name: str) -> bool:
    """Whether something is stored under ``name``, be it whole or not."""
    return (folder() / f"{name}.kernel").exists()


def writable() -> bool:
    """Whether objects can be stored."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder(), os.W_OK)


def load(name: str):
    """The object stored under ``name``, or None if there is none that is whole."""
    try:
        content = (folder() / f"{name}.kernel").read_bytes()
    except OSError:
        return None
    checksum, payload = content[:_CHECKSUM], content[_CHECKSUM:]
    if hashlib.sha256(payload).digest() != checksum:
        return None
    return pickle.loads(payload)


def store(name: str, value) -> bool:
    """Keep an object under ``name``; False where the folder cannot be written, which costs time and nothing else."""
    payload = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    target = folder() / f"{name}.kernel"
    aside = target.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(hashlib.sha256(payload).digest() + payload)
        aside.replace(target)
    except OSError:
        with suppress(OSError):  # nor can what was begun be removed where nothing can be written
            aside.unlink(missing_ok=True)
        return False
    return True
