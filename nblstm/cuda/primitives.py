"""What kernels are made of on the GPU: memory, shuffles, synchronisation. The only file with inline PTX.

Kernels are written against the names of `Primitives`, so that the same kernel can be run step by step in Python by a
simulator with primitives of its own. A pointer is indexed with no bounds check and no wrap-around of negative
indices, which would keep dozens of 64-bit addresses in registers. Small groups of numbers are tuples: they live in
registers, where an array with a loop around it would go to memory as soon as the loop is not unrolled.
"""

from __future__ import annotations

from functools import cache, cached_property

from llvmlite import ir
from numba import cuda, types
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic

from nblstm.codegen.scalar import functions_for

_QUAD = 4  # numbers of 32 bits that one instruction moves


def inlined(function):
    """The function, put in place of each call before types are inferred: no call remains, in no build."""
    return cuda.jit(device=True, inline="always")(function)


@intrinsic
def _power_of_two(typingctx, shifted):
    """See `nblstm.codegen.scalar.power_of_two`."""
    bits, mantissa, bias = (32, 23, 127) if shifted == types.float32 else (64, 52, 1023)

    def codegen(context, builder, signature, args):
        integer = ir.IntType(bits)
        exponent = builder.add(builder.bitcast(args[0], integer), ir.Constant(integer, bias))
        return builder.bitcast(builder.shl(exponent, ir.Constant(integer, mantissa)), args[0].type)

    return shifted(shifted), codegen


@intrinsic
def _offset(typingctx, pointer, count):
    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), codegen


def _special_register(name):
    @intrinsic
    def read(typingctx):
        def codegen(context, builder, signature, args):
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.IntType(32), []), f"llvm.nvvm.read.ptx.sreg.{name}.x"
            )
            return builder.zext(builder.call(function, []), ir.IntType(64))

        return types.int64(), codegen

    return read


def _assembly(builder, result, text: str, constraints: str, args):
    """PTX that is neither moved nor dropped, and around which memory accesses keep their order."""
    function = ir.FunctionType(result, [arg.type for arg in args])
    clobbers = f"{constraints},~{{memory}}" if constraints else "~{memory}"
    return builder.call(ir.InlineAsm(function, text, clobbers, side_effect=True), args)


@intrinsic
def _sync_block(typingctx):
    """Wait for all threads of the block; what they wrote is then visible to all of them."""

    def codegen(context, builder, signature, args):
        _assembly(builder, ir.VoidType(), "bar.sync 0;", "", [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _shuffle(typingctx, value, mask):
    """The ``value`` of the thread of this warp whose lane differs in the bits of ``mask``."""

    def codegen(context, builder, signature, args):
        lanes = builder.trunc(args[1], ir.IntType(32))
        text = "shfl.sync.bfly.b32 $0, $1, $2, 31, 0xffffffff;"
        return _assembly(builder, ir.FloatType(), text, "=f,f,r", [args[0], lanes])

    return types.float32(types.float32, types.int64), codegen


@intrinsic
def _add_release(typingctx, cell, amount):
    """Add to a counter, after all that this thread has written or seen written."""

    def codegen(context, builder, signature, args):
        amount = builder.trunc(args[1], ir.IntType(32))
        _assembly(builder, ir.VoidType(), "red.release.gpu.global.add.u32 [$0], $1;", "l,r", [args[0], amount])
        return context.get_dummy_value()

    return types.void(types.CPointer(types.int32), types.int64), codegen


@intrinsic
def _load_acquire(typingctx, cell):
    """A counter; whoever added to it before has all that it wrote before visible from now on."""

    def codegen(context, builder, signature, args):
        value = _assembly(builder, ir.IntType(32), "ld.acquire.gpu.global.s32 $0, [$1];", "=r,l", [args[0]])
        return builder.sext(value, ir.IntType(64))

    return types.int64(types.CPointer(types.int32)), codegen


@intrinsic
def _load_quad_coherent(typingctx, pointer, index):
    """Four numbers that other blocks have written, from the cache that all share; on 16 bytes."""

    def codegen(context, builder, signature, args):
        place = builder.gep(args[0], [args[1]])
        four = ir.LiteralStructType([ir.FloatType()] * _QUAD)
        text = "ld.relaxed.gpu.global.v4.f32 {$0, $1, $2, $3}, [$4];"
        loaded = _assembly(builder, four, text, "=f,=f,=f,=f,l", [place])
        values = [builder.extract_value(loaded, k) for k in range(_QUAD)]
        return cgutils.pack_array(builder, values)

    return types.UniTuple(types.float32, _QUAD)(types.CPointer(types.float32), types.int64), codegen


def _quad_load(builder, pointer, index):
    """Four numbers at ``pointer[index]``, as one instruction; the address is a multiple of 16 bytes."""
    vector = ir.VectorType(pointer.type.pointee, _QUAD)
    place = builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())
    loaded = builder.load(place)
    loaded.align = 16
    return [builder.extract_element(loaded, ir.Constant(ir.IntType(32), k)) for k in range(_QUAD)]


@cache
def _load_quads(count: int):
    @intrinsic
    def load_quads(typingctx, pointer, stride):
        def codegen(context, builder, signature, args):
            values, place = [], args[0]
            for _ in range(count):
                values += _quad_load(builder, place, ir.Constant(ir.IntType(64), 0))
                place = builder.gep(place, [args[1]])
            return cgutils.pack_array(builder, values)

        return types.UniTuple(types.float32, _QUAD * count)(types.CPointer(types.float32), types.int64), codegen

    return load_quads


@intrinsic
def _store_quad(typingctx, pointer, index, values):
    """Four numbers to an address that is a multiple of 16 bytes."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.FloatType(), _QUAD)
        value = ir.Constant(vector, ir.Undefined)
        for k, item in enumerate(cgutils.unpack_tuple(builder, args[2], _QUAD)):
            value = builder.insert_element(value, item, ir.Constant(ir.IntType(32), k))
        place = builder.bitcast(builder.gep(args[0], [args[1]]), vector.as_pointer())
        builder.store(value, place, align=16)
        return context.get_dummy_value()

    four = types.UniTuple(types.float32, _QUAD)
    return types.void(types.CPointer(types.float32), types.int64, four), codegen


@cache
def _multiply(outputs: int, rows: int, quads: int):
    """Straight-line code: a loop over so many tuple elements would be Python's, at compile time, for seconds."""

    @intrinsic
    def multiply(typingctx, sums, weights, inputs, quad_stride, row_stride):
        def codegen(context, builder, signature, args):
            totals = cgutils.unpack_tuple(builder, args[0], outputs * rows)
            factors = cgutils.unpack_tuple(builder, args[1], _QUAD * outputs * quads)
            real = ir.FloatType()
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(real, [real] * 3), "llvm.fma.f32")
            at_quad = args[2]
            for q in range(quads):
                at_row = at_quad
                for row in range(rows):
                    values = _quad_load(builder, at_row, ir.Constant(ir.IntType(64), 0))
                    for output in range(outputs):
                        k = row * outputs + output
                        for e in range(_QUAD):
                            factor = factors[(q * outputs + output) * _QUAD + e]
                            totals[k] = builder.call(fma, [factor, values[e], totals[k]])
                    at_row = builder.gep(at_row, [args[4]])
                at_quad = builder.gep(at_quad, [args[3]])
            return cgutils.pack_array(builder, totals)

        result = types.UniTuple(types.float32, outputs * rows)
        taken = types.UniTuple(types.float32, _QUAD * outputs * quads)
        return result(result, taken, types.CPointer(types.float32), types.int64, types.int64), codegen

    return multiply


class Primitives:
    """The names that kernels are written against, for one dtype.

    Attributes
    ----------
    inlined : callable
        Decorator of functions that kernels call.
    """

    inlined = staticmethod(inlined)
    offset = staticmethod(_offset)
    thread = staticmethod(_special_register("tid"))
    block = staticmethod(_special_register("ctaid"))
    block_size = staticmethod(_special_register("ntid"))
    sync_block = staticmethod(_sync_block)
    shuffle = staticmethod(_shuffle)
    add_release = staticmethod(_add_release)
    load_acquire = staticmethod(_load_acquire)
    load_quad_coherent = staticmethod(_load_quad_coherent)
    load_quads = staticmethod(_load_quads)
    store_quad = staticmethod(_store_quad)
    multiply = staticmethod(_multiply)

    def __init__(self, dtype: str):
        self.dtype = dtype
        self.real = getattr(types, dtype)

    @cached_property
    def functions(self) -> dict:
        """The scalar functions that cells are made of."""
        return functions_for(self.dtype, inlined, _power_of_two)

    @cached_property
    def numbers(self):
        """``numbers(address)``: pointer to numbers of this dtype in the GPU's memory."""
        return _pointer(self.real)

    @cached_property
    def integers(self):
        """``integers(address)``: pointer to int64."""
        return _pointer(types.int64)

    @cached_property
    def words(self):
        """``words(address)``: pointer to int32, as counters are."""
        return _pointer(types.int32)

    @cached_property
    def shared(self):
        """``shared()``: pointer to the block's own fast memory, as much as the launch asked for."""
        return _shared_memory(self.real)

    def load(self, count: int):
        """``load(count)(pointer, stride)``: a tuple of numbers, ``stride`` apart."""
        return _load_many(self.real, count)

    def store(self, count: int):
        """``store(count)(pointer, stride, values)``."""
        return _store_many(self.real, count)

    def zeros(self, count: int):
        """``zeros(count)()``: a tuple of zeros."""
        return _zeros(self.real, count)

    def choose(self, count: int):
        """``choose(count)(condition, a, b)``: one tuple or the other."""
        return _choose(self.real, count)


def _pointer(real):
    result = types.CPointer(real)

    @intrinsic
    def pointer(typingctx, address):
        def codegen(context, builder, signature, args):
            # Of the GPU's memory, and said so: the compiler then need not find out which kind each access is to.
            element = context.get_data_type(real)
            return builder.addrspacecast(builder.inttoptr(args[0], element.as_pointer(1)), element.as_pointer())

        return result(types.int64), codegen

    return pointer


@cache
def _shared_memory(real):
    result = types.CPointer(real)

    @intrinsic
    def shared(typingctx):
        def codegen(context, builder, signature, args):
            element = context.get_data_type(real)
            name = "nblstm_shared_memory"
            found = builder.module.globals.get(name)
            if found is None:
                found = ir.GlobalVariable(builder.module, ir.ArrayType(element, 0), name, addrspace=3)
                found.linkage, found.align = "external", 16
            return builder.addrspacecast(builder.bitcast(found, element.as_pointer(3)), element.as_pointer())

        return result(), codegen

    return shared


@cache
def _load_many(real, count: int):
    pointer_type = types.CPointer(real)

    @intrinsic
    def load(typingctx, pointer, stride):
        def codegen(context, builder, signature, args):
            values, place = [], args[0]
            for _ in range(count):
                values.append(builder.load(place))
                place = builder.gep(place, [args[1]])
            return _packed(context, builder, signature.return_type, values)

        return _tuple(real, count)(pointer_type, types.int64), codegen

    return load


@cache
def _store_many(real, count: int):
    pointer_type = types.CPointer(real)

    @intrinsic
    def store(typingctx, pointer, stride, values):
        def codegen(context, builder, signature, args):
            place = args[0]
            for value in _unpacked(builder, args[2], count):
                builder.store(value, place)
                place = builder.gep(place, [args[1]])
            return context.get_dummy_value()

        return types.void(pointer_type, types.int64, _tuple(real, count)), codegen

    return store


@cache
def _zeros(real, count: int):
    @intrinsic
    def zeros(typingctx):
        def codegen(context, builder, signature, args):
            zero = ir.Constant(context.get_value_type(real), 0.0)
            return _packed(context, builder, signature.return_type, [zero] * count)

        return _tuple(real, count)(), codegen

    return zeros


@cache
def _choose(real, count: int):
    @intrinsic
    def choose(typingctx, condition, a, b):
        def codegen(context, builder, signature, args):
            pairs = zip(_unpacked(builder, args[1], count), _unpacked(builder, args[2], count), strict=True)
            values = [builder.select(args[0], x, y) for x, y in pairs]
            return _packed(context, builder, signature.return_type, values)

        both = _tuple(real, count)
        return both(types.boolean, both, both), codegen

    return choose


def _tuple(real, count: int):
    return types.UniTuple(real, count) if count else types.Tuple(())


def _packed(context, builder, kind, values):
    return cgutils.pack_array(builder, values) if values else context.make_tuple(builder, kind, ())


def _unpacked(builder, value, count: int):
    return cgutils.unpack_tuple(builder, value, count) if count else []
