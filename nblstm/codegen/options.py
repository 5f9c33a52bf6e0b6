"""How every kernel of nblstm is compiled: the one place where Numba's options stand.

Numba takes options that a callee leaves open from whichever caller compiles it first, so all are set.
"""

_COMMON = {
    # "contract" alone lets a * b + c become one fused multiply-add. Nothing is reassociated: results keep
    # their bits for any number of threads and any split of the batch, and infinities and NaN keep theirs.
    "fastmath": {"contract"},
    # Python's default raises on division by zero: a branch in every `/` that keeps loops scalar.
    "error_model": "numpy",
    "boundscheck": False,
    "nogil": True,
}

#: A kernel: compiled for given types, callable by address.
KERNEL = _COMMON

#: A function that kernels call. Nobody else does, and what Numba would make for callers in Python and C took 20 of 30
#: ms for each such function.
CALL = {**_COMMON, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

#: A function that disappears into its caller; a call that stays keeps the loop around it scalar.
INLINE = {**CALL, "forceinline": True}
