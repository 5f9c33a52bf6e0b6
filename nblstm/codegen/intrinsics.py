"""Functions for kernels that are LLVM instructions: raw memory, calls by address, atomic operations, numbers.

Kernels are C functions: they take integers and pointers, allocate nothing and raise nothing. A pointer is
indexed like an array (``p[k]``) with no bounds check and no wrap-around of negative indices; measured on
AVX-512, array indexing instead of this cost 10 times the pointwise part, because its loops did not vectorise.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, lower_getattr_generic, models, register_model
from numba.extending import intrinsic as numbas_intrinsic

INT, CELL = types.int64, types.CPointer(types.int64)


def intrinsic(define: Callable | None = None, **options) -> Any:
    """Decorate as `numba.extending.intrinsic` does; the code for some types is one object, whichever target asks.

    Numba 0.61 finds it by the types alone: of two objects, one for kernels and one for users' functions, one was lost.
    """
    if define is None:
        return functools.partial(intrinsic, **options)
    made: dict[tuple, Any] = {}

    @functools.wraps(define)
    def defined(typingctx, *given):
        if given not in made:
            made[given] = define(typingctx, *given)
        return made[given]

    return numbas_intrinsic(**options)(defined) if options else numbas_intrinsic(defined)


def in_llvm(signature: Any, register: Callable = intrinsic) -> Callable[[Callable], Any]:
    """Decorate ``write(builder, *values) -> value``, which writes LLVM instructions: an intrinsic of this signature.

    Parameters
    ----------
    signature : Signature or callable
        Such as ``types.int64(types.int64)``, or a function from the arguments' types to one.
    register : callable
        Numba's decorator for intrinsics, or that of numba-cuda.
    """

    def decorate(write: Callable) -> Any:
        def typed(typingctx, *given):
            def codegen(context, builder, signature, values):
                value = write(builder, *values)
                return context.get_dummy_value() if signature.return_type is types.void else value

            return signature(*given) if inspect.isfunction(signature) else signature, codegen

        typed.__name__, typed.__doc__ = write.__name__, write.__doc__
        typed.__signature__ = inspect.signature(write)  # type: ignore[attr-defined]  # Numba counts the arguments by it
        return register(typed)

    return decorate


# --- memory and calls ---------------------------------------------------------------------------------


@in_llvm(lambda pointer, count: pointer(pointer, INT))
def offset(builder, pointer, count):
    """``pointer + count`` elements, as in C."""
    return builder.gep(pointer, [count])


@intrinsic
def pointer_to(typingctx, address, real):
    """The typed pointer at an integer ``address``; ``real`` is the element type, as ``types.float32``."""
    result = types.CPointer(real.dtype)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(result))

    return result(INT, real), codegen


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
        return INT if field in kind.fields else None


@lower_getattr_generic(Records)
def _field(context, builder, kind, value, field):
    return builder.load(builder.gep(value, [ir.Constant(ir.IntType(64), kind.fields.index(field))]))


@intrinsic
def record(typingctx, records, index):
    """The structure ``records[index]``; nothing is copied or counted."""
    size = ir.Constant(ir.IntType(64), len(records.fields))

    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [builder.mul(args[1], size)])

    return records(records, INT), codegen


@in_llvm(lambda address, arguments: types.void(INT, arguments))
def call(builder, address, arguments):
    """Call the C function at an integer ``address`` with a tuple of integers and pointers; it returns nothing.

    Compiled code calls a cell's functions this way, so the loops over time are compiled once for all cells.
    """
    values = cgutils.unpack_tuple(builder, arguments)
    function = ir.FunctionType(ir.VoidType(), [value.type for value in values])
    builder.call(builder.inttoptr(address, function.as_pointer()), values)


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


# --- numbers: Numba has min and max in Python, and compiles them for each kind of arguments, 15 ms ----


@in_llvm(INT(INT, INT))
def smaller(builder, a, b):
    """``min(a, b)`` of two integers."""
    return builder.select(builder.icmp_signed("<", a, b), a, b)


@in_llvm(INT(INT, INT))
def larger(builder, a, b):
    """``max(a, b)`` of two integers."""
    return builder.select(builder.icmp_signed(">", a, b), a, b)


@in_llvm(lambda x: x(x))
def square_root(builder, x):
    """``sqrt(x)``; several at once in a loop, where `math`'s is a call."""
    return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [x.type]), [x])


@in_llvm(lambda a, b: a(a, b))
def product(builder, a, b):
    """``a * b``, rounded: no part of a fused multiply-add."""
    # The flag says nothing of products; one without flags is given "contract", see `target.py`.
    return builder.fmul(a, b, flags=("arcp",))


@in_llvm(lambda x: x(x))
def rounded(builder, x):
    """The nearest whole number, of two the even one: one instruction, of several numbers at once."""
    return builder.call(builder.module.declare_intrinsic("llvm.rint", [x.type]), [x])


@in_llvm(lambda total, number: types.float64(types.float64, number))
def added(builder, total, number):
    """``total + number`` in float64; a loop may make several sums side by side, and add them in the end.

    Their order then depends on nothing but the number of terms and the processor. One after the other they would take
    1 ns each.
    """
    wide = number if number.type == ir.DoubleType() else builder.fpext(number, ir.DoubleType())
    return builder.fadd(total, wide, flags=("reassoc",))


# --- atomic operations on int64 cells of memory, sequentially consistent ------------------------------


@in_llvm(INT(CELL, INT))
def atomic_add(builder, cell, amount):
    """Add to ``cell[0]`` and return the value before."""
    return builder.atomic_rmw("add", cell, amount, "seq_cst")


@in_llvm(INT(CELL))
def atomic_load(builder, cell):
    """``cell[0]``, no older than anything this thread has seen."""
    return builder.load_atomic(cell, "seq_cst", 8)


@in_llvm(types.void(CELL, INT))
def atomic_store(builder, cell, value):
    """Set ``cell[0]``, after everything this thread has written."""
    builder.store_atomic(value, cell, "seq_cst", 8)


@in_llvm(types.boolean(CELL, INT, INT))
def atomic_exchange_if(builder, cell, expected, value):
    """Set ``cell[0]`` to ``value`` if it is ``expected``, and return whether it was (compare and exchange)."""
    return builder.extract_value(builder.cmpxchg(cell, expected, value, "seq_cst", "seq_cst"), 1)


@in_llvm(types.void())
def pause(builder):
    """Tell the core that it is waiting in a loop, which frees its twin and saves power."""
    void, number, triple = ir.VoidType(), ir.IntType(32), builder.module.triple
    if triple.startswith(("x86_64", "i686")):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(void, []), "llvm.x86.sse2.pause")
        builder.call(function, [])
    elif triple.startswith(("aarch64", "arm64")):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(void, [number]), "llvm.aarch64.hint")
        builder.call(function, [ir.Constant(number, 1)])  # yield
