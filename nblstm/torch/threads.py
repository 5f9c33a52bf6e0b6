"""Kernels on torch's own threads."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import torch
from threadpoolctl import threadpool_info

from nblstm.cpu import threads

_parallel, _process = 0, os.getpid()  # address of torch's GOMP_parallel, 0 for none; a child has not its threads
_count = 0  # torch's number of threads, as it was last seen


def share_threads() -> None:
    """Have kernels run on the threads of torch's OpenMP library, where it can be found."""
    global _parallel
    home = str(Path(torch.__file__).parent)
    paths = [found["filepath"] for found in threadpool_info() if found["user_api"] == "openmp"]
    paths.sort(key=lambda path: not path.startswith(home))  # torch's own before one that another package has loaded
    for path in paths:
        parallel = getattr(ctypes.CDLL(path), "GOMP_parallel", None)
        if parallel is not None:
            _parallel = ctypes.cast(parallel, ctypes.c_void_p).value or 0
            break
    follow()


def follow() -> None:
    """Run kernels on as many threads as torch has, unless the user has given nblstm a number.

    Called with each pass, 0.1 us. Torch has a number for each Python thread: that of the main thread counts.
    """
    global _count
    count = torch.get_num_threads()
    if count != _count and threading.current_thread() is threading.main_thread():
        _count = count
        threads.use_openmp(_parallel if os.getpid() == _process else 0, count)
