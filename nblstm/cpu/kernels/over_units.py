"""Sums, means and maxima over the units of a row, one number for all of them.

A sum has 16 partial sums, of the units u with the same u % 16, which are then added in one order: so its bits depend on
neither threads nor vectors. Where threads share the units of a row, each computes it for itself: H reads, beside H
times as many of a product.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.intrinsics import distinct, larger, local, offset
from nblstm.codegen.target import inlined
from nblstm.cpu.kernels.program import MAXIMUM, MEAN

PARTIAL = 16


@cache
def over_units_function(dtype: str):
    """The function ``over_units(operation, H, rows, source, target, row)``.

    ``target[b, 0]`` becomes the result over ``source[b, :H]`` for each of ``rows`` rows b, ``row`` numbers apart.
    Threads that share a row write the same number.
    """
    real = getattr(types, dtype)

    @inlined
    def add_vectors(H, source, partial):
        """Add up ``source[u:u + 16]`` for u = 0, 16, ... as vectors."""
        distinct()
        u = 0
        while u + PARTIAL <= H:
            for k in range(PARTIAL):
                partial[k] += source[u + k]
            u += PARTIAL
        for k in range(H - u):
            partial[k] += source[u + k]

    @inlined
    def total(H, source, partial):
        for k in range(PARTIAL):
            partial[k] = real(0)
        add_vectors(H, source, partial)
        # 8, 4, 2, 1 sums.
        width = PARTIAL // 2
        while width > 0:
            for k in range(width):
                partial[k] += partial[k + width]
            width //= 2
        return partial[0]

    @inlined
    def greatest(H, source):
        found = source[0]
        for u in range(1, H):
            found = larger(found, source[u])
        return found

    @inlined
    def over_units(operation, H, rows, source, target, row):
        partial = local(real, PARTIAL)
        for b in range(rows):
            own = offset(source, b * row)
            value = greatest(H, own) if operation == MAXIMUM else total(H, own, partial)
            if operation == MEAN:
                value = value / real(H)
            target[b * row] = value

    return over_units
