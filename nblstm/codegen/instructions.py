"""Instructions of LLVM's as functions for kernels: on numbers, and atomic ones for the thread pool.

Numba has the first in Python, and compiles its ``min`` and ``max`` anew for each kind of arguments, which takes 15 ms.
The atomic ones are for int64 cells of memory, and sequentially consistent.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INT = types.int64
_CELL = types.CPointer(types.int64)


@intrinsic
def smaller(typingctx, a, b):
    """``min(a, b)`` of two integers."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.icmp_signed("<", *args), *args)

    return _INT(_INT, _INT), codegen


@intrinsic
def larger(typingctx, a, b):
    """``max(a, b)`` of two integers."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.icmp_signed(">", *args), *args)

    return _INT(_INT, _INT), codegen


@intrinsic
def square_root(typingctx, x):
    """``sqrt(x)``; several at once in a loop, where `math`'s is a call."""

    def codegen(context, builder, signature, args):
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [args[0].type]), args)

    return x(x), codegen


@intrinsic
def added(typingctx, total, number):
    """``total + number`` in float64; a loop may make several sums side by side, and add them in the end.

    Their order then depends on nothing but the number of terms and the processor. One after the other they would take
    1 ns each.
    """

    def codegen(context, builder, signature, args):
        wide = args[1] if args[1].type == ir.DoubleType() else builder.fpext(args[1], ir.DoubleType())
        return builder.fadd(args[0], wide, flags=("reassoc",))

    return types.float64(types.float64, number), codegen


@intrinsic
def atomic_add(typingctx, cell, amount):
    """Add to ``cell[0]`` and return the value before."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", args[0], args[1], "seq_cst")

    return _INT(_CELL, _INT), codegen


@intrinsic
def atomic_load(typingctx, cell):
    """``cell[0]``, no older than anything this thread has seen."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(args[0], "seq_cst", 8)

    return _INT(_CELL), codegen


@intrinsic
def atomic_store(typingctx, cell, value):
    """Set ``cell[0]``, after everything this thread has written."""

    def codegen(context, builder, signature, args):
        builder.store_atomic(args[1], args[0], "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(_CELL, _INT), codegen


@intrinsic
def atomic_exchange_if(typingctx, cell, expected, value):
    """Set ``cell[0]`` to ``value`` if it is ``expected``, and return whether it was (compare and exchange)."""

    def codegen(context, builder, signature, args):
        return builder.extract_value(builder.cmpxchg(*args, "seq_cst", "seq_cst"), 1)

    return types.boolean(_CELL, _INT, _INT), codegen


@intrinsic
def pause(typingctx):
    """Tell the core that it is waiting in a loop, which frees its twin and saves power."""

    def codegen(context, builder, signature, args):
        void, triple = ir.VoidType(), builder.module.triple
        if triple.startswith(("x86_64", "i686")):
            builder.call(cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(void, []), "llvm.x86.sse2.pause"), [])  # fmt: skip
        elif triple.startswith(("aarch64", "arm64")):
            hint = ir.FunctionType(void, [ir.IntType(32)])
            yield_hint = ir.Constant(ir.IntType(32), 1)
            builder.call(cgutils.get_or_insert_function(builder.module, hint, "llvm.aarch64.hint"), [yield_hint])
        return context.get_dummy_value()

    return types.void(), codegen
