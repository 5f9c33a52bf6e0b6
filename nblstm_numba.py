"""Numba's entry point to nblstm, beside it and not in it: Numba loads this in each process that compiles anything."""

import importlib
import sys


def init() -> None:
    """Let Numba know nblstm's types where nblstm is imported; elsewhere do nothing, as importing it takes 0.1 s."""
    if "nblstm" in sys.modules:
        importlib.import_module("nblstm.numba_extension.compiled_network")
