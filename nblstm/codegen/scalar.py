"""The scalar functions that cells are made of, one definition for every target.

On the CPU they are compiled so that loops over them become vector code.

``math.exp`` and ``math.tanh`` are library calls that LLVM cannot vectorise. Here each function is straight-line
arithmetic around one core, ``exp(r) - 1`` on ``|r| <= ln(2) / 2``, with a Chebyshev-node polynomial (remainder
below 8e-9 for float32, 2e-17 for float64).

The CPU's logarithms likewise: with ``x = 2**e m`` and m from sqrt(1/2) to sqrt(2), ``log(x) = e log(2) + log(m)``; and
with ``s = (m - 1) / (m + 1)``, ``log(m) = 2 s + s (s**2 Q(s**2))``, where Q is a Chebyshev-node polynomial (relative
remainder of ``log(m)`` below 3e-9 for float32, 5e-18 for float64).

Error bounds over the whole range, infinities and NaN included, are in `BOUNDS`; ``tests/test_scalar.py`` checks them.

References
----------
W. J. Cody and W. Waite, *Software Manual for the Elementary Functions*, 1980: the reductions.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from llvmlite import ir

from nblstm.codegen.intrinsics import in_llvm, square_root
from nblstm.codegen.target import inlined

# Largest error of a result, in units in its last place, wherever the result is a normal number; below that
# (|x| > 87 in float32, > 708 in float64) sigmoid and exp may return 0 for a subnormal number.
BOUNDS = {
    "float32": {"exp": 2.0, "expm1": 3.0, "log": 1.0, "log1p": 2.0, "sigmoid": 3.0, "tanh": 4.0},
    "float64": {"exp": 2.0, "expm1": 3.0, "log": 1.0, "log1p": 2.0, "sigmoid": 3.0, "tanh": 4.0},
}


def write_power_of_two(builder, shifted):
    """``2**n`` where ``shifted`` is ``n`` plus the magic constant of `scalar_functions`.

    The addition of 1.5 * 2**mantissa leaves ``n`` in the low bits of ``shifted``; moved into the exponent
    field, with the bias added, they are the result. No conversion to an integer, so NaN is not undefined.
    """
    bits, mantissa, bias = (32, 23, 127) if shifted.type == ir.FloatType() else (64, 52, 1023)
    integer = ir.IntType(bits)
    exponent = builder.add(builder.bitcast(shifted, integer), ir.Constant(integer, bias))
    return builder.bitcast(builder.shl(exponent, ir.Constant(integer, mantissa)), shifted.type)


power_of_two = in_llvm(lambda shifted: shifted(shifted))(write_power_of_two)


def _constants(real):
    """(magic, ln2 high, ln2 low, smallest reduced argument, largest argument of exp, polynomial)."""
    if real is np.float32:
        polynomial = (0.5, 0.16666576506635625, 0.0416665540137537, 0.00836325938012243, 0.0013926283929909435)
        return 1.5 * 2**23, 0.693359375, -0.00021219444005469057, -88.0, 88.8, polynomial
    polynomial = (
        0.5000000000000001, 0.16666666666666669, 0.04166666666662368, 0.00833333333333002, 0.0013888888917440354,
        0.00019841269863213405, 2.4801520943338443e-05, 2.7557268227252104e-06, 2.762025624563509e-07,
        2.510049622207998e-08,
    )  # fmt: skip
    return 1.5 * 2**52, 0.6931471805598903, 5.497923018708371e-14, -709.0, 709.9, polynomial


@cache
def scalar_functions(dtype: str, compiled: Callable = inlined) -> dict:
    """Compiled scalar functions for one dtype on the CPU, by the names that emitted code uses.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    compiled : callable
        `inlined` for kernels, `inlined_for_users` for what users compile.

    Returns
    -------
    dict of str to Numba dispatcher
        ``exp expm1 log log1p sqrt abs sigmoid tanh erf minimum maximum clip``, each from scalars of ``dtype`` to one.
    """
    return functions_for(dtype, compiled, power_of_two) | _logarithms(dtype, compiled) | {"sqrt": square_root}


def functions_for(dtype: str, compiled: Callable, power_of_two: Callable) -> dict:
    """The scalar functions, for a target.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    compiled : callable
        Decorator that makes a Python function callable from the target's code.
    power_of_two : callable
        The target's function of that name.

    Returns
    -------
    dict of str to callable
    """
    real = np.dtype(dtype).type
    magic, ln2_high, ln2_low, lowest, highest, polynomial = _constants(real)
    MAGIC, LOG2E, LN2_HIGH, LN2_LOW = real(magic), real(1 / math.log(2)), real(ln2_high), real(ln2_low)
    LOWEST, HIGHEST, LOWEST_EXP = real(lowest), real(highest), real(1.2 * lowest)
    ZERO, HALF, ONE, TWO = real(0), real(0.5), real(1), real(2)

    if real is np.float32:
        C0, C1, C2, C3, C4 = map(real, polynomial)

        @compiled
        def expm1_core(r):
            return r + r * r * (C0 + r * (C1 + r * (C2 + r * (C3 + r * C4))))

    else:
        C0, C1, C2, C3, C4, C5, C6, C7, C8, C9 = map(real, polynomial)

        @compiled
        def expm1_core(r):
            tail = C5 + r * (C6 + r * (C7 + r * (C8 + r * C9)))
            return r + r * r * (C0 + r * (C1 + r * (C2 + r * (C3 + r * (C4 + r * tail)))))

    @compiled
    def reduced(x, n):
        """x - n ln(2), in two parts so that the product with the first is exact."""
        return (x - n * LN2_HIGH) - n * LN2_LOW

    @compiled
    def exp(x):
        x = LOWEST_EXP if x < LOWEST_EXP else x  # written so that NaN passes
        x = HIGHEST if x > HIGHEST else x
        n = (x * LOG2E + MAGIC) - MAGIC
        # 2**n in two factors: n reaches 128 (1024), one more than an exponent field holds, and -150.
        half = n * HALF + MAGIC
        rest = (n - (half - MAGIC)) + MAGIC
        return (ONE + expm1_core(reduced(x, n))) * power_of_two(half) * power_of_two(rest)

    @compiled
    def exp_of_negative(x):
        """exp(x) for x <= 0, 0 below `LOWEST`."""
        x = LOWEST if x < LOWEST else x
        shifted = x * LOG2E + MAGIC
        scale = power_of_two(shifted)
        return scale + scale * expm1_core(reduced(x, shifted - MAGIC))

    @compiled
    def expm1_of_negative(x):
        """exp(x) - 1 for x <= 0, with no cancellation near 0."""
        x = LOWEST if x < LOWEST else x
        shifted = x * LOG2E + MAGIC
        scale = power_of_two(shifted)
        return scale * expm1_core(reduced(x, shifted - MAGIC)) + (scale - ONE)

    @compiled
    def absolute(x):
        return -x if x < ZERO else x

    @compiled
    def expm1(x):
        # exp(x) - 1 = -(exp(-x) - 1) exp(x): one core serves both signs.
        negative = expm1_of_negative(-absolute(x))
        return negative if x < ZERO else -negative * exp(x)

    @compiled
    def sigmoid(x):
        z = exp_of_negative(-absolute(x))
        return (z if x < ZERO else ONE) / (ONE + z)

    @compiled
    def tanh(x):
        z = expm1_of_negative(-TWO * absolute(x))
        y = z / (TWO + z)
        return y if x < ZERO else -y

    @compiled
    def minimum(x, y):
        return x if x < y or x != x else y

    @compiled
    def maximum(x, y):
        return x if x > y or x != x else y

    @compiled
    def clip(x, low, high):
        return minimum(maximum(x, low), high)

    @compiled
    def log(x):
        return real(math.log(x))

    @compiled
    def log1p(x):
        return real(math.log1p(x))

    @compiled
    def sqrt(x):
        return real(math.sqrt(x))

    @compiled
    def erf(x):
        return real(math.erf(x))

    return {
        "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "sqrt": sqrt, "abs": absolute,
        "sigmoid": sigmoid, "tanh": tanh, "erf": erf, "minimum": minimum, "maximum": maximum,
        "clip": clip,
    }  # fmt: skip


# --- logarithms ---------------------------------------------------------------------------------------


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


def _logarithms(dtype: str, compiled: Callable) -> dict:
    """``log`` and ``log1p``, for the CPU."""
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

    @compiled
    def log(x):
        small = x < TINY  # subnormal numbers: there is a normal one 2**64 times as large
        y = x * UP if small else x
        e = exponent(y) - (UP_BY if small else ZERO)
        r = significand(y) - ONE
        s = r / (TWO + r)
        square, z = HALF * r * r, s * s
        tail = C3 + z * (C4 + z * (C5 + z * C6)) if long else C3
        q = z * (C0 + z * (C1 + z * (C2 + z * tail)))
        # log(m) = r - (square - s (square + q)), its terms so grouped that they are added by size.
        result = e * LN2_HIGH - ((square - (s * (square + q) + e * LN2_LOW)) - r)
        result = result if x > ZERO else (-INFINITY if x == ZERO else NAN)
        return x if x == INFINITY else result

    @compiled
    def log1p(x):
        y = ONE + x
        lost = (x - (y - ONE)) / y  # of x, in the sum
        return log(y) + (lost if lost == lost else ZERO)

    return {"log": log, "log1p": log1p}
