"""Kernels on torch's own threads."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from threadpoolctl import threadpool_info

from nblstm.cpu import threads


def share_threads() -> None:
    """Have kernels run on the threads of torch's OpenMP library, where it can be found."""
    if not torch.backends.openmp.is_available():
        return
    home = str(Path(torch.__file__).parent)
    paths = [found["filepath"] for found in threadpool_info() if found["user_api"] == "openmp"]
    paths.sort(key=lambda path: not path.startswith(home))  # torch's own before one that another package has loaded
    for path in paths:
        parallel = getattr(ctypes.CDLL(path), "GOMP_parallel", None)
        if parallel is not None:
            threads.use_openmp(ctypes.cast(parallel, ctypes.c_void_p).value or 0, torch.get_num_threads())
            return
