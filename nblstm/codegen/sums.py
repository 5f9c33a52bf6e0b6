"""Sums that loops can make in vector registers."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


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
