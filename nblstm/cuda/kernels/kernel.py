"""A kernel, before it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kernel:
    """Something to compile and launch.

    Attributes
    ----------
    name : str
        For profiles and the cache's files.
    dtype : {"float32", "float64"}
    threads : int
        The most threads that a block will have; with them, the compiler decides how many registers each gets.
    text : str
        With the name, all that tells this kernel from others of the same version of nblstm.
    make : callable
        From primitives to the Python function; its arguments are all int64.
    """

    name: str
    dtype: str
    threads: int
    text: str
    make: Callable = field(compare=False)
