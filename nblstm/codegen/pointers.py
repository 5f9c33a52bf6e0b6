"""Raw memory for compiled kernels: typed pointers, their arithmetic, and calls by address.

Kernels are C functions: they take integers and pointers, allocate nothing and raise nothing. A pointer is
indexed like an array (``p[k]``) with no bounds check and no wrap-around of negative indices; measured on
AVX-512, array indexing instead of this cost 10 times the pointwise part, because its loops did not vectorise.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model


@intrinsic
def offset(typingctx, pointer, count):
    """``pointer + count`` elements, as in C."""

    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), codegen


@intrinsic
def pointer_to(typingctx, address, real):
    """The typed pointer at an integer ``address``; ``real`` is the element type, as ``types.float32``."""
    result = types.CPointer(real.dtype)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(result))

    return result(types.int64, real), codegen


@intrinsic(prefer_literal=True)
def local(typingctx, real, count):
    """A pointer to ``count`` numbers, a constant, in the memory of the calling function."""
    number = count.literal_value

    def codegen(context, builder, signature, args):
        memory = cgutils.alloca_once(builder, context.get_value_type(real.dtype), number)
        memory.align = 64
        return memory

    return types.CPointer(real.dtype)(real, count), codegen


class Records(types.Type):
    """A pointer to structures whose fields are int64; as a value, the first of them, its fields read as attributes."""

    def __init__(self, fields):
        self.fields = tuple(fields)
        super().__init__(f"Records({', '.join(fields)})")

    @property
    def mangling_args(self):
        """A short name for symbols."""
        return "Records", (len(self.fields),)


@register_model(Records)
class _RecordsModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.IntType(64).as_pointer())


@infer_getattr
class _Fields(AttributeTemplate):
    key = Records

    def generic_resolve(self, kind, field):
        return types.int64 if field in kind.fields else None


@lower_getattr_generic(Records)
def _field(context, builder, kind, value, field):
    return builder.load(builder.gep(value, [ir.Constant(ir.IntType(64), kind.fields.index(field))]))


@intrinsic
def record(typingctx, records, index):
    """The structure ``records[index]``; nothing is copied or counted."""
    size = ir.Constant(ir.IntType(64), len(records.fields))

    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [builder.mul(args[1], size)])

    return records(records, types.int64), codegen


@intrinsic
def call(typingctx, address, arguments):
    """Call the C function at an integer ``address`` with a tuple of integers and pointers; it returns nothing.

    Compiled code calls a cell's functions this way, so the loops over time are compiled once for all cells.
    """

    def codegen(context, builder, signature, args):
        values = cgutils.unpack_tuple(builder, args[1])
        function = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), codegen


@intrinsic
def distinct(typingctx):
    """Promise that the pointers the calling function was given never overlap (C's ``restrict``).

    A row function touches up to 20 arrays. Without the promise LLVM would have to compare every pair of them
    before the loop, gives up at 8 comparisons, and leaves the loop scalar: 200 ns instead of 20 for 16 units.
    """

    def codegen(context, builder, signature, args):
        # Not the first two, to which Numba has the result and the exception written.
        for argument in context.call_conv.get_arguments(builder.function):
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), codegen
