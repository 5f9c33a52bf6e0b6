"""What losses and optimizers have compiled, ahead of its use: functions that compile it, each with its arguments."""

from __future__ import annotations

from collections.abc import Iterable

from nblstm.device import backend_of


def foresee(kernels: Iterable[tuple]) -> None:
    """Have them compiled while others are waited for."""
    for function, *arguments in kernels:
        backend_of("cpu").foresee(function, *arguments)


def compile_now(kernels: Iterable[tuple]) -> None:
    """Compile them, or load them from the cache."""
    for function, *arguments in kernels:
        function(*arguments)
