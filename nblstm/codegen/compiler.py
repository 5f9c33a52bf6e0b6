"""From a Python function to a C function in memory: compiled once, then read from disk."""

from __future__ import annotations

from collections.abc import Callable

from nblstm.codegen import aside, cache
from nblstm.codegen.target import kernel, machine
from nblstm.process import compiling
from nblstm.process.uninterrupted import uninterrupted

_loaded: dict[str, tuple[object, int]] = {}  # key -> (library, which must outlive its code; address)

#: Names of kernels that were compiled here and could not be written to disk.
unstored: list[str] = []


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
        file = _file(name, key)
        if not cache.exists(file):
            compiling.announce()
            aside.deliver(name, file)
        entry = uninterrupted(_obtain, name, key, make)
    return entry[1]


def stored(name: str) -> bool:
    """Whether a kernel that its name describes, without a text, is in the cache."""
    return cache.exists(_file(name, cache.key(f"{name}\n")))


def _file(name: str, key: str) -> str:
    return f"{name}-{key}"


def _obtain(name: str, key: str, make) -> tuple[object, int]:
    entry = _loaded.get(key)  # another thread may have asked for it first
    if entry is None:
        entry = _loaded[key] = _load(_file(name, key)) or _build(name, key, make)
    return entry


def _load(file: str) -> tuple[object, int] | None:
    stored = cache.load(file)
    if stored is None:
        return None
    symbol, serialized = stored
    library = machine().unserialize_library(serialized)
    return library, _whole(symbol, library.get_pointer_to_function(symbol))


def _build(name: str, key: str, make) -> tuple[object, int]:
    function, signature = make()
    # Symbols are shared by all code in the process: without the key, two dtypes of one kernel that separate
    # processes compiled could bear one name.
    function.__name__ = function.__qualname__ = f"{name}_{key}"
    built = kernel(function, signature)
    _whole(name, built.address)
    if not cache.store(_file(name, key), (built.native_name, built._library.serialize_using_object_code())):
        unstored.append(name)
    return built._library, built.address


def _whole(name: str, address: int) -> int:
    """The address of a kernel. LLVM asks Python for machine code, cannot hear of an error there, and gives 0."""
    if not address:
        raise MemoryError(f"the kernel {name} was not compiled whole; free memory, then call again")
    return address
