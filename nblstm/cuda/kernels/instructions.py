"""Instructions that numba-cuda does not offer: pointers, numbers of threads, synchronisation, the only inline PTX."""

from __future__ import annotations

from functools import cache, partial

from llvmlite import ir
from numba import cuda, types
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic

from nblstm.codegen.intrinsics import in_llvm
from nblstm.codegen.scalar import write_power_of_two
from nblstm.codegen.sine import write_negative_if_odd

#: Numbers of 32 bits that one instruction moves.
QUAD = 4

#: Numba's types of numbers in LLVM.
LLVM = {
    types.float32: ir.FloatType(), types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32), types.int64: ir.IntType(64),
}  # fmt: skip

_INT32, _INT64 = LLVM[types.int32], LLVM[types.int64]
_REALS = types.CPointer(types.float32)
_COUNTER = types.CPointer(types.int32)


#: Decorates ``write(builder, *values)`` as an intrinsic of numba-cuda's.
in_cuda = partial(in_llvm, register=intrinsic)


# --- numbers and pointers --------------------------------------------------------------------------------------------

power_of_two = in_cuda(lambda shifted: shifted(shifted))(write_power_of_two)
negative_if_odd = in_cuda(lambda value, shifted: value(value, shifted))(write_negative_if_odd)


@in_cuda(lambda pointer, count: pointer(pointer, types.int64))
def offset(builder, pointer, count):
    """``pointer + count`` numbers, as in C."""
    return builder.gep(pointer, [count])


@cache
def pointer(number):
    """``pointer(address)``: a typed pointer into global memory, from an integer address."""

    @in_cuda(types.CPointer(number)(types.int64))
    def write(builder, address):
        # Said to be global memory: accesses of unknown kind are slower.
        known = builder.inttoptr(address, LLVM[number].as_pointer(1))
        return builder.addrspacecast(known, LLVM[number].as_pointer())

    return write


@cache
def shared_memory(number):
    """``shared()``: a typed pointer to the block's shared memory."""

    @in_cuda(types.CPointer(number)())
    def write(builder):
        name = "nblstm_shared_memory"
        found = builder.module.globals.get(name)
        if found is None:
            found = ir.GlobalVariable(builder.module, ir.ArrayType(LLVM[number], 0), name, addrspace=3)
            found.linkage, found.align = "external", 16
        return builder.addrspacecast(builder.bitcast(found, LLVM[number].as_pointer(3)), LLVM[number].as_pointer())

    return write


# --- threads and their synchronisation -------------------------------------------------------------------------------


def special_register(name):
    """``read()``: a special register of PTX: ``tid`` (thread), ``ctaid`` (block), ``ntid`` (threads of a block)."""

    @in_cuda(types.int64())
    def write(builder):
        return builder.zext(_call(builder, f"llvm.nvvm.read.ptx.sreg.{name}.x", _INT32, []), _INT64)

    return write


#: Barrier of a block. This and a shuffle must be reached by all threads together. The compiler knows that of its own
#: intrinsics; inline PTX it might copy into both branches of an `if` before it.
sync_block = cuda.syncthreads


@in_cuda(types.float32(types.float32, types.int64))
def shuffle(builder, value, mask):
    """Return the ``value`` of the thread of this warp whose lane differs in the bits of ``mask`` (butterfly)."""
    everyone, butterfly, last = (ir.Constant(_INT32, k) for k in (0xFFFFFFFF, 3, 31))
    given = [everyone, butterfly, builder.bitcast(value, _INT32), builder.trunc(mask, _INT32), last]
    result = ir.LiteralStructType([_INT32, ir.IntType(1)])
    taken = builder.extract_value(_call(builder, "llvm.nvvm.shfl.sync.i32", result, given), 0)
    return builder.bitcast(taken, ir.FloatType())


@in_cuda(types.void(_COUNTER, types.int64))
def add_release(builder, counter, amount):
    """Add to a counter, after all that this thread has written or seen written."""
    amount = builder.trunc(amount, _INT32)
    _assembly(builder, ir.VoidType(), "red.release.gpu.global.add.u32 [$0], $1;", "l,r", [counter, amount])


@in_cuda(types.int64(_COUNTER))
def load_acquire(builder, counter):
    """Read a counter; what any thread wrote before it added to the counter is visible from now on."""
    return builder.sext(_assembly(builder, _INT32, "ld.acquire.gpu.global.s32 $0, [$1];", "=r,l", [counter]), _INT64)


@in_cuda(types.void(_REALS, _REALS, types.int64))
def begin_copy(builder, target, source, index):
    """Begin to copy a quad that other blocks have written, to the same index in shared memory; both on 16 bytes.

    It is read from L2, which all blocks share, past this multiprocessor's L1. A thread goes on at once and can have
    many copies under way, where a load that is then stored makes it wait for each.
    """
    target, source = (builder.gep(place, [index]) for place in (target, source))
    shared = builder.addrspacecast(target, target.type.pointee.as_pointer(3))
    text = f"cp.async.cg.shared.global [$0], [$1], {4 * QUAD};"
    _assembly(builder, ir.VoidType(), text, "l,l", [shared, source])


@in_cuda(types.void())
def end_copies(builder):
    """Wait for all copies that this thread began; the other threads see them behind the next barrier."""
    _assembly(builder, ir.VoidType(), "cp.async.wait_all;", "", [])


def _call(builder, name: str, result, args):
    """Call one of LLVM's own intrinsics."""
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _assembly(builder, result, text: str, constraints: str, args):
    """Call inline PTX that is neither moved nor dropped, and around which memory accesses keep their order."""
    function = ir.FunctionType(result, [arg.type for arg in args])
    clobbers = f"{constraints},~{{memory}}" if constraints else "~{memory}"
    return builder.call(ir.InlineAsm(function, text, clobbers, side_effect=True), args)
