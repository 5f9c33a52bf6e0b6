"""The CUDA backend: kernels for each traced cell, generated and compiled by numba-cuda, on CuPy's arrays and streams.

Importing this package imports neither: `availability` says whether they are there.
"""

from nblstm.cuda.availability import backend, names, unavailable

__all__ = ["backend", "names", "unavailable"]
