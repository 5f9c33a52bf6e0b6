"""From a Python function to a C function in memory: compiled once, then read from disk."""

from __future__ import annotations

from collections.abc import Callable

from nblstm.codegen import background, cache, machine, target
from nblstm.process import compiling
from nblstm.process.uninterrupted import uninterrupted

_addresses: dict[str, int] = {}  # of the kernels in memory, by their files' names

#: Names of kernels that were compiled here and could not be written to disk.
unstored: list[str] = []


def compiled(name: str, text: str, make: Callable[[], tuple[Callable, object]]) -> int:
    """Address of a compiled kernel.

    Parameters
    ----------
    name : str
        The kernel's name in profiles, and the beginning of its file's name.
    text : str
        Everything that tells this kernel from others of the same version of nblstm: dtype, emitted source.
    make : callable
        Returns the Python function and its Numba signature. Called only if no stored kernel is found.

    Returns
    -------
    int
        Address of a C function; valid as long as the process lives.
    """
    file = _file(name, text)
    if file not in _addresses:
        if not cache.exists(file):
            compiling.announce()
            background.wait_for(name, file)
        uninterrupted(_obtain, name, file, make)
    return _addresses[file]


def stored(name: str) -> bool:
    """Return whether a kernel that its name describes, without a text, is in the cache."""
    return cache.exists(_file(name))


def _file(name: str, text: str = "") -> str:
    """Name of a kernel's file, which has a key for each of Numba's targets.

    Where there is a file for the small target, that target has worked with this version of Numba and is not tried.
    """
    content = f"{name}\n{text}"
    small, plain = f"{name}-{cache.key(content)}", f"{name}-{cache.key('plain ' + content)}"
    return plain if target.forced_plain() or (not cache.exists(small) and target.why_plain()) else small


def _obtain(name: str, file: str, make) -> None:
    if file not in _addresses:  # another thread may have asked for it first
        code = cache.load(file)
        _addresses[file] = _build(name, file, make) if code is None else machine.load(code, file)


def _build(name: str, file: str, make) -> int:
    function, signature = make()
    function.__name__ = function.__qualname__ = name
    code = target.object_code(function, signature, file)
    if not cache.store(file, code):
        unstored.append(name)
    return machine.load(code, file)
