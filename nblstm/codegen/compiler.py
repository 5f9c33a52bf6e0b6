"""From a Python function to a C function in memory: compiled once, then read from disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from nblstm.codegen import aside, cache
from nblstm.codegen.target import kernel, machine

_lock = threading.RLock()
_loaded: dict[str, tuple[object, int]] = {}  # key -> (library, which must outlive its code; address)

#: Names of kernels that were compiled here and could not be written to disk.
unstored: list[str] = []

# A fork waits until nobody compiles, so that no lock of Numba's stays shut in the child.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def compiled(name: str, text: str, make: Callable[[], tuple[Callable, object]]) -> int:
    """Address of a compiled kernel.

    Parameters
    ----------
    name : str
        What the kernel is called in profiles, and the beginning of its file's name.
    text : str
        Everything that tells this kernel from others of the same version of nblstm: dtype, emitted source.
    make : callable
        Returns the Python function and its Numba signature. Called only if no stored kernel is found.

    Returns
    -------
    int
        Address of a C function; valid as long as the process lives.
    """
    key = cache.key(f"{name}\n{text}")
    entry = _loaded.get(key)
    if entry is None:
        with _lock:
            entry = _loaded.get(key) or _loaded.setdefault(key, _obtain(name, key, make))
    return entry[1]


def stored(name: str) -> bool:
    """Whether a kernel that its name describes, without a text, is in the cache."""
    return cache.exists(_file(name, cache.key(f"{name}\n")))


def _file(name: str, key: str) -> str:
    return f"{name}-{key}"


def _obtain(name: str, key: str, make) -> tuple[object, int]:
    file = _file(name, key)
    found = _load(file)
    if found is None and aside.delivers(name, file):
        found = _load(file)
    return found or _build(name, key, make)


def _load(file: str) -> tuple[object, int] | None:
    stored = cache.load(file)
    if stored is None:
        return None
    symbol, serialized = stored
    library = machine().unserialize_library(serialized)
    return library, library.get_pointer_to_function(symbol)


def _build(name: str, key: str, make) -> tuple[object, int]:
    function, signature = make()
    # Symbols are shared by all code in the process: without the key, two dtypes of one kernel that separate
    # processes compiled could bear one name.
    function.__name__ = function.__qualname__ = f"{name}_{key}"
    built = kernel(function, signature)
    if not cache.store(_file(name, key), (built.native_name, built._library.serialize_using_object_code())):
        unstored.append(name)
    return built._library, built.address
