"""Identity of this implementation, by which files of compiled code know their own version of nblstm."""

from __future__ import annotations

from functools import cache

from nblstm.codegen.cache import sources


@cache
def implementation() -> str:
    """A hash of what users' compiled functions can contain of nblstm, and of the kernels of this package."""
    return sources("symbolic", "cells", "codegen", "numba_extension")
