"""The CPU backend: matrix kernels on the vector unit, loops over time, threads."""

from nblstm.cpu.backend import backend

__all__ = ["backend"]
