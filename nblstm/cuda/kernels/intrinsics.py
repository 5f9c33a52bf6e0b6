"""Intrinsics that Numba does not offer: typed pointers, numbers of threads, synchronisation, and the only inline PTX."""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba import cuda, types
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic

from nblstm.cuda.kernels.tuples import QUAD


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
    """``read()``: a special register of PTX: ``tid`` (thread), ``ctaid`` (block), ``ntid`` (threads of a block)."""

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
    """Call inline PTX that is neither moved nor dropped, and around which memory accesses keep their order."""
    function = ir.FunctionType(result, [arg.type for arg in args])
    clobbers = f"{constraints},~{{memory}}" if constraints else "~{memory}"
    return builder.call(ir.InlineAsm(function, text, clobbers, side_effect=True), args)


#: Barrier of a block. This and a shuffle must be reached by all threads together. The compiler knows that of its own
#: intrinsics; inline PTX it might copy into both branches of an `if` before it.
sync_block = cuda.syncthreads


@intrinsic
def shuffle(typingctx, value, mask):
    """Return the ``value`` of the thread of this warp whose lane differs in the bits of ``mask`` (butterfly)."""

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
    """Read a counter; what any thread wrote before it added to the counter is visible from now on."""

    def codegen(context, builder, signature, args):
        value = _assembly(builder, ir.IntType(32), "ld.acquire.gpu.global.s32 $0, [$1];", "=r,l", [args[0]])
        return builder.sext(value, ir.IntType(64))

    return types.int64(types.CPointer(types.int32)), codegen


@intrinsic
def begin_copy(typingctx, target, source, index):
    """Begin to copy a quad that other blocks have written, to the same index in shared memory; both on 16 bytes.

    It is read from L2, which all blocks share, past this multiprocessor's L1. A thread goes on at once and can have
    many copies under way, where a load that is then stored makes it wait for each.
    """

    def codegen(context, builder, signature, args):
        target, source = (builder.gep(place, [args[2]]) for place in args[:2])
        shared = builder.addrspacecast(target, target.type.pointee.as_pointer(3))
        text = f"cp.async.cg.shared.global [$0], [$1], {4 * QUAD};"
        _assembly(builder, ir.VoidType(), text, "l,l", [shared, source])
        return context.get_dummy_value()

    real = types.CPointer(types.float32)
    return types.void(real, real, types.int64), codegen


@intrinsic
def end_copies(typingctx):
    """Wait for all copies that this thread began; the other threads see them behind the next barrier."""

    def codegen(context, builder, signature, args):
        _assembly(builder, ir.VoidType(), "cp.async.wait_all;", "", [])
        return context.get_dummy_value()

    return types.void(), codegen


def pointer(real):
    """``pointer(address)``: a typed pointer into global memory, from an integer address."""
    result = types.CPointer(real)

    @intrinsic
    def made(typingctx, address):
        def codegen(context, builder, signature, args):
            # Said to be global memory: accesses of unknown kind are slower.
            element = context.get_data_type(real)
            return builder.addrspacecast(builder.inttoptr(args[0], element.as_pointer(1)), element.as_pointer())

        return result(types.int64), codegen

    return made


@cache
def shared_memory(real):
    """``shared()``: a typed pointer to the block's shared memory."""
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
