"""Logarithms of one number on the CPU, straight-line arithmetic, so that loops become vector code.

With ``x = 2**e m`` and m from sqrt(1/2) to sqrt(2), ``log(x) = e log(2) + log(m)``; and with ``s = (m - 1) / (m + 1)``,
``log(m) = 2 s + s (s**2 Q(s**2))``, where Q is a Chebyshev-node polynomial (relative remainder of ``log(m)`` below 3e-9
for float32, 5e-18 for float64).
"""

import math
from collections.abc import Callable

import numpy as np
from llvmlite import ir

from nblstm.codegen.intrinsics import in_llvm


def _parts(builder, value):
    """The integers of the exponent e, in place, and of m."""
    bits, mantissa = (32, 23) if isinstance(value.type, ir.FloatType) else (64, 52)
    integer = ir.IntType(bits)
    root = int(np.sqrt(0.5).astype(f"f{bits // 8}").view(f"i{bits // 8}"))
    whole = builder.bitcast(value, integer)
    above = builder.sub(whole, ir.Constant(integer, root))
    exponent = builder.ashr(above, ir.Constant(integer, mantissa))
    return exponent, builder.sub(whole, builder.shl(exponent, ir.Constant(integer, mantissa)))


@in_llvm(lambda x: x(x))
def exponent(builder, x):
    """The e of ``x = 2**e m``, for a normal number above 0."""
    e, _ = _parts(builder, x)
    # By way of 32 bits: not every processor turns integers of 64 into floats, several at once.
    return builder.sitofp(e if e.type.width == 32 else builder.trunc(e, ir.IntType(32)), x.type)


@in_llvm(lambda x: x(x))
def significand(builder, x):
    """The m of ``x = 2**e m``, for a normal number above 0."""
    return builder.bitcast(_parts(builder, x)[1], x.type)


def logarithms(dtype: str, compiled: Callable) -> dict:
    """``log``, ``log1p`` and ``log2``, for the CPU."""
    real, limits = np.dtype(dtype).type, np.finfo(dtype)
    TINY, UP, UP_BY = real(limits.tiny), real(2.0**64), real(64)
    ZERO, HALF, ONE, TWO, INFINITY, NAN = map(real, (0, 0.5, 1, 2, np.inf, np.nan))

    long = real is np.float64
    if long:
        LN2_HIGH, LN2_LOW = real(0.6931471805598903), real(5.497923018708371e-14)
        polynomial = (
            0.666666666666667, 0.39999999999899505, 0.28571428625975487, 0.2222221113479508, 0.18182889125261723,
            0.15331721600556042, 0.14616449685043406,
        )  # fmt: skip
    else:
        LN2_HIGH, LN2_LOW = real(0.693359375), real(-0.00021219444005469057)
        polynomial = (0.6666668503957586, 0.3998878056602198, 0.2957994939197279, 0.0, 0.0, 0.0, 0.0)
    C0, C1, C2, C3, C4, C5, C6 = map(real, polynomial)
    LOG2E_HIGH = real(1 / math.log(2))
    # log2(e) = 1.442695040888963407359924681...: what a float64 leaves of it, and a float32.
    LOG2E_LOW = real(2.0355273740931033e-17 if long else 1 / math.log(2) - float(LOG2E_HIGH))

    @compiled
    def product(r, square):
        """s (square + s**2 Q(s**2)), for r = m - 1 and square = r**2 / 2: log(m) = r - (square - product)."""
        s = r / (TWO + r)
        z = s * s
        tail = C3 + z * (C4 + z * (C5 + z * C6)) if long else C3
        return s * (square + z * (C0 + z * (C1 + z * (C2 + z * tail))))

    @compiled
    def log(x):
        small = x < TINY  # subnormal numbers: there is a normal one 2**64 times as large
        y = x * UP if small else x
        e = exponent(y) - (UP_BY if small else ZERO)
        r = significand(y) - ONE
        square = HALF * r * r
        # e log(2) + log(m), its terms so grouped that they are added by size.
        result = e * LN2_HIGH - ((square - (product(r, square) + e * LN2_LOW)) - r)
        result = result if x > ZERO else (-INFINITY if x == ZERO else NAN)
        return x if x == INFINITY else result

    @compiled
    def log1p(x):
        y = ONE + x
        lost = (x - (y - ONE)) / y  # of x, in the sum
        return log(y) + (lost if lost == lost else ZERO)

    @compiled
    def log2(x):
        small = x < TINY
        y = x * UP if small else x
        e = exponent(y) - (UP_BY if small else ZERO)
        r = significand(y) - ONE
        square = HALF * r * r
        lost = product(r, square) - square  # log(m) = r + lost
        result = e + (r * LOG2E_HIGH + (lost * LOG2E_HIGH + (r + lost) * LOG2E_LOW))
        result = result if x > ZERO else (-INFINITY if x == ZERO else NAN)
        return x if x == INFINITY else result

    return {"log": log, "log1p": log1p, "log2": log2}
