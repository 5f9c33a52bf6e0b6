"""The CUDA backend: kernels for each traced cell, generated and compiled by numba-cuda, on CuPy's arrays and streams.

Importing this package imports neither: `gpu` says whether they are there. `gpu_backend` is what the engine calls; it
hands a layer to `layer`, which launches `sequence` (a whole span of steps) or `steps` (one by one), whose kernels are
in `kernels`. `tiling` chooses between them.
"""

from nblstm.cuda.gpu import backend, names, unavailable

__all__ = ["backend", "names", "unavailable"]
