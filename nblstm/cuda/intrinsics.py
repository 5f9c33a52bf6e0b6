"""Instructions that Numba does not offer: typed pointers, groups of numbers, and PTX. The only file with inline PTX."""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba import cuda, types
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic

_QUAD = 4  # numbers of 32 bits that one instruction moves


@intrinsic
def power_of_two(typingctx, shifted):
    """See `nblstm.codegen.scalar.power_of_two`."""
    bits, mantissa, bias = (32, 23, 127) if shifted == types.float32 else (64, 52, 1023)

    def codegen(context, builder, signature, args):
        integer = ir.IntType(bits)
        exponent = builder.add(builder.bitcast(args[0], integer), ir.Constant(integer, bias))
        return builder.bitcast(builder.shl(exponent, ir.Constant(integer, mantissa)), args[0].type)

    return shifted(shifted), codegen


@intrinsic
def offset(typingctx, pointer, count):
    """``pointer + count`` numbers, as in C."""

    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), codegen


def special_register(name):
    """A function that reads one of the registers with a thread's place: ``tid``, ``ctaid``, ``ntid``."""

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


#: A barrier and a shuffle must be reached by all threads together. The compiler knows that of its own intrinsics; a
#: piece of PTX it might copy into both branches of an `if` before it.
sync_block = cuda.syncthreads


@intrinsic
def shuffle(typingctx, value, mask):
    """The ``value`` of the thread of this warp whose lane differs in the bits of ``mask``."""

    def codegen(context, builder, signature, args):
        integer = ir.IntType(32)
        result = ir.LiteralStructType([integer, ir.IntType(1)])
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(result, [integer] * 5), "llvm.nvvm.shfl.sync.i32"
        )
        everyone, butterfly, last = (ir.Constant(integer, k) for k in (0xFFFFFFFF, 3, 31))
        given = [everyone, butterfly, builder.bitcast(args[0], integer), builder.trunc(args[1], integer), last]
        taken = builder.extract_value(builder.call(function, given), 0)
        return builder.bitcast(taken, ir.FloatType())

    return types.float32(types.float32, types.int64), codegen


@intrinsic
def add_release(typingctx, cell, amount):
    """Add to a counter, after all that this thread has written or seen written."""

    def codegen(context, builder, signature, args):
        amount = builder.trunc(args[1], ir.IntType(32))
        _assembly(builder, ir.VoidType(), "red.release.gpu.global.add.u32 [$0], $1;", "l,r", [args[0], amount])
        return context.get_dummy_value()

    return types.void(types.CPointer(types.int32), types.int64), codegen


@intrinsic
def load_acquire(typingctx, cell):
    """A counter; whoever added to it before has all that it wrote before visible from now on."""

    def codegen(context, builder, signature, args):
        value = _assembly(builder, ir.IntType(32), "ld.acquire.gpu.global.s32 $0, [$1];", "=r,l", [args[0]])
        return builder.sext(value, ir.IntType(64))

    return types.int64(types.CPointer(types.int32)), codegen


@intrinsic
def load_quad_coherent(typingctx, pointer, index):
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
def load_quads(count: int):
    """A function that loads ``count`` groups of four numbers, ``stride`` apart; addresses are multiples of 16 bytes."""

    @intrinsic
    def made(typingctx, pointer, stride):
        def codegen(context, builder, signature, args):
            values, place = [], args[0]
            for _ in range(count):
                values += _quad_load(builder, place, ir.Constant(ir.IntType(64), 0))
                place = builder.gep(place, [args[1]])
            return cgutils.pack_array(builder, values)

        return types.UniTuple(types.float32, _QUAD * count)(types.CPointer(types.float32), types.int64), codegen

    return made


@intrinsic
def store_quad(typingctx, pointer, index, values):
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
def multiply(outputs: int, rows: int, quads: int):
    """Straight-line code: a loop over so many tuple elements would be Python's, at compile time, for seconds."""

    @intrinsic
    def made(typingctx, sums, weights, inputs, quad_stride, row_stride):
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

    return made


def pointer(real):
    """A function from an integer address to a typed pointer into the GPU's memory."""
    result = types.CPointer(real)

    @intrinsic
    def made(typingctx, address):
        def codegen(context, builder, signature, args):
            # Of the GPU's memory, and said so: the compiler then need not find out which kind each access is to.
            element = context.get_data_type(real)
            return builder.addrspacecast(builder.inttoptr(args[0], element.as_pointer(1)), element.as_pointer())

        return result(types.int64), codegen

    return made


@cache
def shared_memory(real):
    """A function without arguments: pointer to the block's shared memory."""
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
def load_many(real, count: int):
    """See `Primitives.load`."""
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
def store_many(real, count: int):
    """See `Primitives.store`."""
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
def zeros(real, count: int):
    """See `Primitives.zeros`."""

    @intrinsic
    def made(typingctx):
        def codegen(context, builder, signature, args):
            zero = ir.Constant(context.get_value_type(real), 0.0)
            return _packed(context, builder, signature.return_type, [zero] * count)

        return _tuple(real, count)(), codegen

    return made


@cache
def choose(real, count: int):
    """See `Primitives.choose`."""

    @intrinsic
    def made(typingctx, condition, a, b):
        def codegen(context, builder, signature, args):
            pairs = zip(_unpacked(builder, args[1], count), _unpacked(builder, args[2], count), strict=True)
            values = [builder.select(args[0], x, y) for x, y in pairs]
            return _packed(context, builder, signature.return_type, values)

        both = _tuple(real, count)
        return both(types.boolean, both, both), codegen

    return made


def _tuple(real, count: int):
    return types.UniTuple(real, count) if count else types.Tuple(())


def _packed(context, builder, kind, values):
    return cgutils.pack_array(builder, values) if values else context.make_tuple(builder, kind, ())


def _unpacked(builder, value, count: int):
    return cgutils.unpack_tuple(builder, value, count) if count else []
