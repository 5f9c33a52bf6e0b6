"""The scalar functions that cells are made of, one definition for every target.

On the CPU they are compiled so that loops over them become vector code.

``math.exp`` and ``math.tanh`` are library calls that LLVM cannot vectorise. Here each function is straight-line
arithmetic around one core, ``exp(r) - 1`` on ``|r| <= ln(2) / 2``, with a Chebyshev-node polynomial (remainder
below 8e-9 for float32, 2e-17 for float64).

``erf(x) = sign(x) (1 - exp(|x| E(|x|)))``, where E is the minimax polynomial of ``log(1 - erf(x)) / x`` up to where erf
is 1 to the last digit (relative remainder of erf below 5e-9 for float32, 3e-17 for float64). Sine and cosine are in
`nblstm.codegen.sine`, the CPU's logarithms in `nblstm.codegen.logarithms`.

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

from nblstm.codegen.intrinsics import in_llvm, product, rounded, square_root
from nblstm.codegen.logarithms import logarithms
from nblstm.codegen.sine import sine_functions, write_negative_if_odd
from nblstm.codegen.target import inlined

# Largest error of a result, in units in its last place, wherever the result is a normal number; below that
# (|x| > 87 in float32, > 708 in float64) sigmoid, exp and exp2 may return 0 for a subnormal number. Those of sin and
# cos hold up to `nblstm.codegen.sine.REDUCED`: |x| <= 1e5 in float32, 3e9 in float64.
_BOUNDS = {
    "exp": 2.0, "expm1": 3.0, "log": 1.0, "log1p": 2.0, "sigmoid": 3.0, "tanh": 4.0, "exp2": 2.0, "log2": 2.0,
    "erf": 4.0, "sin": 4.0, "cos": 4.0,
}  # fmt: skip
BOUNDS = {"float32": _BOUNDS, "float64": _BOUNDS}


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
negative_if_odd = in_llvm(lambda value, shifted: value(value, shifted))(write_negative_if_odd)

#: Polynomial E of `erf` for each dtype, and the x from which on erf is 1.
_ERF = {
    "float32": (3.95, (
        -1.1283791716084275, -0.6366193820709265, -0.1027778306660673, 0.019153069619367583, 0.0001603771956204587,
        -0.001667002196301166, 0.0006328204632546026, -0.00011763615960831318, 9.255653261037928e-06,
    )),
    "float64": (5.92, (
        -1.1283791670955126, -0.6366197723675909, -0.10277260330131552, 0.019128446993096175, 0.00020919485390562232,
        -0.0016962076697310713, 0.0005901324294083559, -2.5904496803479548e-05, -6.442048064086432e-05,
        2.957568607999196e-05, -3.169701094537169e-06, -3.1329270954399792e-06, 2.0371560726569122e-06,
        -5.706089521372968e-07, 1.169463052584105e-08, 6.573981113126994e-08, -3.458714892918564e-08,
        1.077401384058555e-08, -2.360663047686734e-09, 3.760962218971663e-10, -4.3020954661538695e-11,
        3.3646127514516847e-12, -1.6150081712741193e-13, 3.5925261294156875e-15,
    )),
}  # fmt: skip


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
        ``exp expm1 exp2 log log1p log2 sqrt rsqrt abs sign round sigmoid tanh sin cos erf minimum maximum clip
        product``, each from scalars of ``dtype`` to one.
    """
    real = np.dtype(dtype).type
    ONE = real(1)

    @compiled
    def rsqrt(x):
        return ONE / square_root(x)

    own = logarithms(dtype, compiled) | {"sqrt": square_root, "rsqrt": rsqrt, "round": rounded, "product": product}
    return functions_for(dtype, compiled, power_of_two, negative_if_odd) | own


def functions_for(dtype: str, compiled: Callable, power_of_two: Callable, negative_if_odd: Callable) -> dict:
    """The scalar functions, for a target.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    compiled : callable
        Decorator that makes a Python function callable from the target's code.
    power_of_two, negative_if_odd : callable
        The target's functions of these names.

    Returns
    -------
    dict of str to callable
    """
    real = np.dtype(dtype).type
    magic, ln2_high, ln2_low, lowest, highest, polynomial = _constants(real)
    MAGIC, LOG2E, LN2_HIGH, LN2_LOW = real(magic), real(1 / math.log(2)), real(ln2_high), real(ln2_low)
    LOWEST, HIGHEST, LOWEST_EXP = real(lowest), real(highest), real(1.2 * lowest)
    ZERO, HALF, ONE, TWO = real(0), real(0.5), real(1), real(2)
    LN2, LOWEST_EXP2, HIGHEST_EXP2 = real(math.log(2)), real(-1100 if magic > 2**24 else -160), real(highest / 0.69)
    WHOLE = real(magic / 1.5)  # from here on every number is whole

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
    def exp2(x):
        x = LOWEST_EXP2 if x < LOWEST_EXP2 else x
        x = HIGHEST_EXP2 if x > HIGHEST_EXP2 else x
        n = (x + MAGIC) - MAGIC
        half = n * HALF + MAGIC
        rest = (n - (half - MAGIC)) + MAGIC
        return (ONE + expm1_core((x - n) * LN2)) * power_of_two(half) * power_of_two(rest)

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
    def sign(x):
        return ONE if x > ZERO else (-ONE if x < ZERO else x)

    @compiled
    def round(x):
        """The nearest whole number; of two, the even one."""
        size = absolute(x)
        whole = (size + WHOLE) - WHOLE if size < WHOLE else size
        return -whole if x < ZERO else whole

    @compiled
    def log(x):
        return real(math.log(x))

    @compiled
    def log2(x):
        return real(math.log2(x))

    @compiled
    def log1p(x):
        return real(math.log1p(x))

    @compiled
    def sqrt(x):
        return real(math.sqrt(x))

    @compiled
    def rsqrt(x):
        return ONE / real(math.sqrt(x))

    @compiled
    def product(a, b):
        return a * b

    return {
        "exp": exp, "expm1": expm1, "exp2": exp2, "log": log, "log1p": log1p, "log2": log2, "sqrt": sqrt,
        "rsqrt": rsqrt, "abs": absolute, "sign": sign, "round": round, "sigmoid": sigmoid, "tanh": tanh,
        "minimum": minimum, "maximum": maximum, "clip": clip, "product": product,
        "erf": _erf(dtype, compiled, expm1_of_negative), **sine_functions(dtype, compiled, negative_if_odd),
    }  # fmt: skip


def _erf(dtype: str, compiled: Callable, expm1_of_negative: Callable) -> Callable:
    real = np.dtype(dtype).type
    top, polynomial = _ERF[dtype]
    TOP, ZERO = real(top), real(0)
    E0, E1, E2, E3, E4, E5, E6, E7, E8, *others = map(real, polynomial)

    if real is np.float32:

        @compiled
        def tail(x):
            return E8

    else:
        F0, F1, F2, F3, F4, F5, F6, F7, F8, F9, F10, F11, F12, F13, F14 = others

        @compiled
        def tail(x):
            end = F7 + x * (F8 + x * (F9 + x * (F10 + x * (F11 + x * (F12 + x * (F13 + x * F14))))))
            return E8 + x * (F0 + x * (F1 + x * (F2 + x * (F3 + x * (F4 + x * (F5 + x * (F6 + x * end)))))))

    @compiled
    def erf(x):
        size = -x if x < ZERO else x
        size = TOP if size > TOP else size  # written so that NaN passes
        E = E4 + size * (E5 + size * (E6 + size * (E7 + size * tail(size))))
        below = expm1_of_negative(size * (E0 + size * (E1 + size * (E2 + size * (E3 + size * E)))))
        return below if x < ZERO else -below

    return erf
