"""What a new process waits for: the import, and the first LSTM result with kernels on disk and without."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

FIRST_RESULT = """
import numpy as np, nblstm
nblstm.nn.LSTM(28, 128)(np.zeros((28, 32, 28), np.float32))
"""
IMPORT = """
import time
import numba
between = time.perf_counter()
import nblstm
print(time.perf_counter() - between)
"""


def _python(code: str, **variables: str) -> tuple[float, str]:
    """Seconds that a process takes, and what it prints."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True
    )
    return time.perf_counter() - begin, done.stdout


class Startup:
    """Seconds; medians of whole processes."""

    unit = "s"
    timeout = 300

    def setup_cache(self):
        """Fill the disk cache, as the first process on a machine does."""
        _python(FIRST_RESULT)

    def track_import_after_numba(self):
        return statistics.median(float(_python(IMPORT)[1]) for _ in range(5))

    def track_warm_start(self):
        return statistics.median(_python(FIRST_RESULT)[0] for _ in range(5))

    def track_cold_start(self):
        with tempfile.TemporaryDirectory() as folder:
            return _python(FIRST_RESULT, NBLSTM_CACHE_DIR=folder)[0]
