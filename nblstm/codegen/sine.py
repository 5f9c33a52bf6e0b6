"""Sine and cosine of one number, straight-line arithmetic for every target, so that loops become vector code.

With ``n = round(x / pi)`` and ``r = x - n pi``, ``sin(x) = (-1)**n sin(r)``; with ``n = round(x / pi - 1/2)`` and
``r = x - (n + 1/2) pi``, ``cos(x) = -(-1)**n sin(r)``. On ``|r| <= 1.6``, pi / 2 and what a rounded ``x / pi`` adds to
it, an odd polynomial is the sine (minimax, relative remainder below 8e-9 for float32, 4e-19 for float64).

pi is a sum of numbers so short that their products with n are exact; up to `REDUCED` none loses a digit. Beyond it
errors grow with |x|, and at some 100 times as much no digit is right: the result is still a number from -1 to 1.

References
----------
W. J. Cody and W. Waite, *Software Manual for the Elementary Functions*, 1980: the reduction.
"""

import math
from collections.abc import Callable

import numpy as np
from llvmlite import ir

#: Largest |x| for which the bounds of `nblstm.codegen.scalar.BOUNDS` hold.
REDUCED = {"float32": 1e5, "float64": 3e9}

#: pi in numbers of 8 bits for float32 (n < 2**15, with its half 16 bits of 24), 22 for float64 (n < 2**30: 31 of 53).
PI = {
    "float32": (3.140625, 0.00096893310546875, -1.2814998626708984e-06, 1.979060471057892e-09, 5.115907697472721e-12,
                1.0780605906948477e-14),
    "float64": (3.1415929794311523, -3.2584136988589307e-07, 1.078060505991553e-14, 6.564007085747001e-22, 0.0, 0.0),
}  # fmt: skip
#: ``(sin(r) - r) / r**3`` by powers of r**2.
SINE = {
    "float32": (-0.1666665838812727, 0.008333034441967178, -0.00019807158513594457, 2.6001703284901585e-06),
    "float64": (-0.16666666666666666, 0.008333333333333153, -0.0001984126984119397, 2.7557319208501855e-06,
                -2.5052106629928446e-08, 1.605892743787842e-10, -7.642671126013479e-13, 2.7177942746596495e-15),
}  # fmt: skip


def write_negative_if_odd(builder, value, shifted):
    """``(-1)**n value`` where ``shifted`` is n plus 1.5 * 2**mantissa, whose lowest bit is that of n."""
    integer = ir.IntType(32 if value.type == ir.FloatType() else 64)
    sign = builder.shl(builder.bitcast(shifted, integer), ir.Constant(integer, integer.width - 1))
    return builder.bitcast(builder.xor(builder.bitcast(value, integer), sign), value.type)


def sine_functions(dtype: str, compiled: Callable, negative_if_odd: Callable) -> dict:
    """``sin`` and ``cos``.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    compiled : callable
        Decorator that makes a Python function callable from the target's code.
    negative_if_odd : callable
        The target's function that `write_negative_if_odd` writes.
    """
    real, long = np.dtype(dtype).type, dtype == "float64"
    MAGIC = real(1.5 * 2 ** (52 if long else 23))
    INVERSE, HALF, ONE, ZERO = real(1 / math.pi), real(0.5), real(1), real(0)
    P0, P1, P2, P3, P4, P5 = map(real, PI[dtype])
    S0, S1, S2, S3, S4, S5, S6, S7 = map(real, (*SINE[dtype], 0, 0, 0, 0)[:8])

    @compiled
    def reduced(x, n):
        """x - n pi."""
        r = ((x - n * P0) - n * P1) - n * P2
        return r - n * P3 if long else ((r - n * P3) - n * P4) - n * P5

    @compiled
    def sine(r):
        z = r * r
        tail = S3 + z * (S4 + z * (S5 + z * (S6 + z * S7))) if long else S3
        y = r + r * (z * (S0 + z * (S1 + z * (S2 + z * tail))))
        y = ONE if y > ONE else y  # by a rounding, and where r is far too large; written so that NaN passes
        return -ONE if y < -ONE else y

    @compiled
    def sin(x):
        shifted = x * INVERSE + MAGIC
        return negative_if_odd(sine(reduced(x, shifted - MAGIC)), shifted)

    @compiled
    def cos(x):
        x = -x if x < ZERO else x
        shifted = (x * INVERSE - HALF) + MAGIC
        return negative_if_odd(-sine(reduced(x, (shifted - MAGIC) + HALF)), shifted)

    return {"sin": sin, "cos": cos}
