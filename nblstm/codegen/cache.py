"""Compiled kernels on disk: one file each, named by everything that it was compiled from.

Numba's own ``cache=True`` keys a function by its file's date and the identity of what it closes over: it
misses in every new process for functions that call others, and hits when a callee in another file has changed.
Here the file's name is a hash of the contents that matter, so there is no index to lock and nothing to
invalidate; a file is written under another name and moved into place, so readers see it whole or not at all; and it
carries its own checksum, so a damaged one is a miss.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import pkgutil
import platform
import uuid
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

import llvmlite
import numba

from nblstm.codegen.machine import processor

_CHECKSUM = 32  # bytes of SHA-256 in front of the payload


def folder() -> Path:
    """Folder of compiled kernels: ``NBLSTM_CACHE_DIR``, else in ``NUMBA_CACHE_DIR``, else in the platform's caches."""
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
    """Text of everything that machine code for this CPU depends on beside the kernel's own text."""
    parts = (
        numba.__version__, llvmlite.__version__, platform.python_version(), str(processor()), str(numba.config.OPT)
    )  # fmt: skip
    return "\n".join((*parts, sources("symbolic", "codegen", "cpu")))


def sources(*packages: str) -> str:
    """A hash of the modules of some of nblstm's packages: of their source, or of their code where that is all there is.

    Raises
    ------
    RuntimeError
        If nothing of a package can be read.
    """
    digest = hashlib.sha256()
    for package in packages:
        path = import_module(f"nblstm.{package}").__path__
        modules = sorted(module.name for module in pkgutil.walk_packages(path, f"nblstm.{package}."))
        if not modules:
            for place in filter(os.path.isdir, path):
                os.listdir(place)  # raises what pkgutil passes over, such as too many open files
            raise RuntimeError(
                f"the modules of nblstm.{package} cannot be listed, so kernels of another version could be taken for "
                "this one's; install nblstm as files or in a zip archive"
            )
        for module in modules:
            digest.update(_content(module))
    return digest.hexdigest()


def _content(module: str) -> bytes:
    """The text of a module, else its compiled code."""
    loader: Any = find_spec(module).loader  # type: ignore[union-attr]
    source = loader.get_source(module)
    return repr(_described(loader.get_code(module))).encode() if source is None else source.encode()


def _described(code: CodeType) -> tuple:
    """Code as plain values, without the place where it was compiled."""
    constants = [_described(c) if isinstance(c, CodeType) else sorted(map(repr, c)) if isinstance(c, frozenset) else c
                 for c in code.co_consts]  # fmt: skip
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return code.co_name, code.co_code, constants, names, counts, getattr(code, "co_exceptiontable", b"")


def key(text: str, surroundings: str | None = None) -> str:
    """Hexadecimal name of a kernel with this text, in this environment or for other surroundings."""
    return hashlib.sha256(f"{surroundings or environment()}\n{text}".encode()).hexdigest()[:32]


def exists(name: str) -> bool:
    """Return whether something is stored under ``name``, whole or damaged."""
    return (folder() / f"{name}.kernel").exists()


def writable() -> bool:
    """Return whether objects can be stored, without making anything to find out."""
    place = folder()
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


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
    temporary = target.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(payload).digest() + payload)
        temporary.replace(target)
    except OSError:
        with suppress(OSError):  # nor can what was begun be removed where nothing can be written
            temporary.unlink(missing_ok=True)
        return False
    return True
