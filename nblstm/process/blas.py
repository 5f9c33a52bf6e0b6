"""NumPy's products on the calling thread alone.

OpenBLAS's other threads, when a product is done, wait for the next one in a busy loop, for some 25 ms: on cores that
nblstm's kernels are to run on. A training step of LSTM(128) and Dense(60), T=40, B=128, I=60, took 30 ms on two cores,
of which 0.3 ms were products, and takes 20 without these threads.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from nblstm.process import locks

#: Multiply-adds below which no BLAS wakes other threads, so that there is nothing to keep from it, which takes 4 us.
#: OpenBLAS splits products of matrices from 262,144 on, those of a matrix and a vector from 9,216 on.
FEW, FEW_OF_A_VECTOR = 250_000, 9_000

#: Multiply-adds of a product that is worth all threads: more than 25 ms on one.
MANY = 2_000_000_000


@cache
def _libraries() -> list:
    """The libraries that compute NumPy's products, as objects with ``num_threads`` and ``set_num_threads``.

    There are none to be set where NumPy has Apple's Accelerate.
    """
    from threadpoolctl import ThreadpoolController  # 7 ms with its look at what is loaded

    return ThreadpoolController().select(user_api="blas").lib_controllers


class _Work:
    """A product that is being computed; `_Limit` has weak references to it."""


class _Limit:
    """Limits the libraries to one thread, from `enter` to `leave`.

    Where several threads of Python are inside, each that leaves sets the numbers back: that costs the others time,
    while the last one could be a thread of which threadpoolctl takes no orders for OpenBLAS, and would not.

    An exception of a signal's handler may end either of them at any point. `leave` is right after any part of `enter`,
    and may be repeated; and if nobody does, the next who enters knows that those inside are gone. A handler may also
    compute a product within either.
    """

    def __init__(self):
        self._lock = locks.lock()
        self._inside: list[weakref.ref[_Work]] = []
        self._before: list[int] | None = None  # what is to be set back; None while there is nothing

    def enter(self, work: _Work) -> None:
        with self._lock:
            libraries = _libraries()
            self._inside.append(weakref.ref(work))  # first, so that no handler's product ends the limit as the last one
            if self._before is None:
                self._before = [library.num_threads for library in libraries]
            for library in libraries:
                library.set_num_threads(1)

    def leave(self, work: _Work) -> None:
        with self._lock:
            if self._before is not None:
                for library, number in zip(_libraries(), self._before, strict=True):
                    library.set_num_threads(number)
            self._inside = [inside for inside in self._inside if inside() not in (None, work)]
            if not self._inside:
                self._before = None


_one_thread = _Limit()


def alone(multiply_adds: float, function: Callable, *arguments, **options) -> Any:
    """Call a function of NumPy's that does so many multiply-adds, on the calling thread alone unless they are many."""
    if FEW <= multiply_adds < MANY:
        return _limited(function, *arguments, **options)
    return function(*arguments, **options)


def _limited(function: Callable, *arguments, **options) -> Any:
    work = _Work()
    try:
        _one_thread.enter(work)
        return function(*arguments, **options)
    finally:
        try:
            _one_thread.leave(work)
        except BaseException:
            _one_thread.leave(work)  # what the exception cut short
            raise


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """``a @ b``, of (..., K) and (K, N), on the calling thread unless it is very large; ``out`` is C-contiguous."""
    K, N = b.shape
    multiply = np.dot if a.ndim == 2 else np.matmul  # the former starts 0.4 us earlier
    few = FEW_OF_A_VECTOR if N == 1 or a.shape[-2:-1] in ((), (1,)) else FEW
    if few <= a.size * N < MANY:
        if a.shape == (1, K) and out is None and 2 * K * N < FEW:
            # As two rows: a product of matrices. With K, N = 128, 103 it takes 2.7 us, and with the limit 5.6.
            return np.dot(a.repeat(2, 0), b)[:1]
        return _limited(multiply, a, b, out=out)
    return multiply(a, b, out=out)
