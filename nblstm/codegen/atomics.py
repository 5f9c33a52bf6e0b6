"""Atomic operations on int64 cells of memory, sequentially consistent, for the thread pool."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INT = types.int64
_CELL = types.CPointer(types.int64)


@intrinsic
def atomic_add(typingctx, cell, amount):
    """Add to ``cell[0]`` and return what was there before."""

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
    """Set ``cell[0]`` to ``value`` if it is ``expected``; whether it was."""

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
