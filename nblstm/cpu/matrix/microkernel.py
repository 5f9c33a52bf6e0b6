"""The matrix microkernel: one block of C = init + A B kept in vector registers, as LLVM code.

`blocks.py` has the largest block; smaller ones are for the last rows and columns of a matrix. For every k the block
takes ``vectors`` loads of B, one broadcast of A per row and ``rows * vectors`` fused multiply-adds. Each result is one
chain of multiply-adds in ascending k, whatever the block's shape, so a result's bits do not depend on how rows are
split over blocks or threads.

Measured on one core of a Zen 4 (one 512-bit FMA a cycle): 6 x 4 blocks, K = 512, run at the FMA peak. All block
shapes, 6 rows x 4 vectors, the last full or masked, compile in 0.4 s.
"""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba import types
from numba.core import cgutils

from nblstm.codegen.intrinsics import in_llvm
from nblstm.cpu.matrix.blocks import register_block, vector_unit

_INDEX = ir.IntType(64)
_LANE = ir.IntType(32)


def _index(value: int) -> ir.Constant:
    return ir.Constant(_INDEX, value)


class _BFloat16(ir.Type):
    """LLVM's type ``bfloat``."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat16)

    def __hash__(self):
        return hash(_BFloat16)


class Vectors:
    """LLVM instructions on vectors of one dtype, at one place in a function.

    With ``pairs``, operands of products are pairs of bfloat16 in the place of float32's numbers; see `bfloat16.py`.
    """

    def __init__(self, builder: ir.IRBuilder, dtype: str, pairs: bool = False):
        self.builder, self._pairs = builder, pairs
        self.real = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.bytes = 4 if dtype == "float32" else 8
        self.lanes = vector_unit().lanes(dtype)
        self.type = ir.VectorType(self.real, self.lanes)
        self.mask_type = ir.VectorType(ir.IntType(1), self.lanes)

    def _intrinsic(self, name: str, result, arguments):
        # llvmlite's declare_intrinsic does not know vectors
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)

    def _at(self, base, index):
        return self.builder.bitcast(self.builder.gep(base, [index]), self.type.as_pointer())

    def load(self, base, index, mask=None):
        """Read a vector at ``base + index``; where the mask is 0, no memory is touched and the vector has 0."""
        address = self._at(base, index)
        if mask is None:
            value = self.builder.load(address)
            value.align = self.bytes
            return value
        name = f"llvm.masked.load.v{self.lanes}f{8 * self.bytes}.p0"
        load = self._intrinsic(name, self.type, [address.type, _LANE, self.mask_type, self.type])
        zero = ir.Constant(self.type, [0.0] * self.lanes)
        return self.builder.call(load, [address, ir.Constant(_LANE, self.bytes), mask, zero])

    def store(self, value, base, index, mask=None):
        """Write a vector at ``base + index``; where the mask is 0, no memory is touched."""
        address = self._at(base, index)
        if mask is None:
            self.builder.store(value, address).align = self.bytes
            return
        name = f"llvm.masked.store.v{self.lanes}f{8 * self.bytes}.p0"
        store = self._intrinsic(name, ir.VoidType(), [self.type, address.type, _LANE, self.mask_type])
        self.builder.call(store, [value, address, ir.Constant(_LANE, self.bytes), mask])

    def splat(self, scalar):
        """Broadcast a scalar to a vector."""
        return self._repeat(scalar, self.type)

    def _repeat(self, scalar, vector):
        nothing = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(nothing, scalar, ir.Constant(_LANE, 0))
        lanes = ir.Constant(ir.VectorType(_LANE, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, nothing, lanes)

    def first(self, count):
        """Make the mask ``lane < count``."""
        wide = ir.VectorType(_INDEX, self.lanes)
        numbers = ir.Constant(wide, list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self._repeat(count, wide))

    def multiply_add(self, a, b, c):
        """Compute ``a b + c``, rounded once where the machine can; of pairs, ``c + a[0] b[0] + a[1] b[1]``."""
        if not self._pairs:
            return self._fused(a, b, c)
        if vector_unit().bfloat16:
            pairs = ir.VectorType(_BFloat16(), 2 * self.lanes)
            dot = self._intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", self.type, [self.type, pairs, pairs])
            return self.builder.call(dot, [c, self.builder.bitcast(a, pairs), self.builder.bitcast(b, pairs)])
        for k in (1, 0):
            c = self._fused(self._of_pair(a, k), self._of_pair(b, k), c)
        return c

    def _of_pair(self, values, k):
        """Number k of each pair, in float32: its bits are the upper half of float32's."""
        integers = ir.VectorType(_LANE, self.lanes)
        amount = ir.Constant(integers, [16 if k == 0 else -65536] * self.lanes)
        bits = self.builder.bitcast(values, integers)
        return self.builder.bitcast((self.builder.shl if k == 0 else self.builder.and_)(bits, amount), self.type)

    def _fused(self, a, b, c):
        if not vector_unit().fma:  # llvm.fma would become a library call for each lane
            return self.builder.fadd(self.builder.fmul(a, b), c)
        name = f"llvm.fma.v{self.lanes}f{8 * self.bytes}"
        return self.builder.call(self._intrinsic(name, self.type, [self.type] * 3), [a, b, c])


def _block(on: Vectors, rows: int, vectors: int, mask, K, a, a_row, a_k, b, b_k, init, init_row, c, c_row):
    """Emit ``sums = init; for k: sums += a[:, k] b[k, :]; c = sums`` for a block of ``rows x vectors`` in registers.

    ``mask``, if any, guards the last vector of every row.
    """
    builder = on.builder
    masks = [None] * (vectors - 1) + [mask]
    columns = [_index(v * on.lanes) for v in range(vectors)]

    def places(row_stride):
        return [[builder.add(builder.mul(row_stride, _index(r)), column) for column in columns] for r in range(rows)]

    # sums[r][v] = init[r, v]; with K = 0 they are stored at once.
    start = [[on.load(init, p, m) for p, m in zip(row, masks, strict=True)] for row in places(init_row)]
    entry = builder.block
    loop, done = builder.append_basic_block("over_k"), builder.append_basic_block("store")
    builder.cbranch(builder.icmp_signed(">", K, _index(0)), loop, done)

    # k, k a_k and k b_k are counted up; sums[r][v] = fma(a[r, k], b[k, v], sums[r][v]).
    builder.position_at_end(loop)
    counters = [builder.phi(_INDEX) for _ in range(3)]
    for counter in counters:
        counter.add_incoming(_index(0), entry)
    k, at_a, at_b = counters
    sums = [[builder.phi(on.type) for _ in range(vectors)] for _ in range(rows)]
    weights = [on.load(b, builder.add(at_b, column), m) for column, m in zip(columns, masks, strict=True)]
    for r in range(rows):
        value = on.splat(builder.load(builder.gep(a, [builder.add(at_a, builder.mul(a_row, _index(r)))])))
        for v in range(vectors):
            sums[r][v].add_incoming(start[r][v], entry)
            sums[r][v].add_incoming(on.multiply_add(value, weights[v], sums[r][v]), loop)
    following = builder.add(k, _index(1))
    k.add_incoming(following, loop)
    at_a.add_incoming(builder.add(at_a, a_k), loop)
    at_b.add_incoming(builder.add(at_b, b_k), loop)
    _not_unrolled(builder.cbranch(builder.icmp_signed("<", following, K), loop, done))

    # c[r, v] = sums[r][v], from either way here.
    builder.position_at_end(done)
    totals = []  # LLVM wants every phi before any other instruction of its block
    for r in range(rows):
        for v in range(vectors):
            totals.append(builder.phi(on.type))
            totals[-1].add_incoming(start[r][v], entry)
            totals[-1].add_incoming(sums[r][v].incomings[1][0], loop)
    targets = [place for row in places(c_row) for place in row]
    for total, place, m in zip(totals, targets, masks * rows, strict=True):
        on.store(total, c, place, m)


def _not_unrolled(branch) -> None:
    """Forbid LLVM to unroll the loop that a branch closes.

    It would repeat the body of all but the largest blocks: 0.3 s of 0.8 for the kernel, and not faster.
    """
    module = branch.parent.module
    about = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = ir.MDValue(module, [about], name=str(len(module.metadata)))
    loop.operands = loop, about  # a loop's metadata begins with itself, which tells it from others
    branch.set_metadata("llvm.loop", loop)


@cache
def microkernel(dtype: str, pairs: bool = False):
    """The intrinsic ``block(rows, vectors, columns, K, a, a_row, a_k, b, b_k, init, init_row, c, c_row)``.

    ``c[r, n] = init[r, n] + sum over k of a[r, k] * b[k, n]`` for ``rows x columns`` results, where
    ``vectors = ceil(columns / lanes)``; ``a_row``, ``a_k``, ``b_k``, ``init_row`` and ``c_row`` are strides in
    elements (an ``init_row`` of 0 adds one row to all). Nothing outside ``rows x columns`` is read or written.
    ``init`` may be ``c``. With ``pairs``, a and b are pairs of bfloat16, and K is their number.
    """
    pointer = types.CPointer(getattr(types, dtype))
    size = types.int64
    max_rows, max_vectors = register_block()
    signature = types.void(size, size, size, size, pointer, size, size, pointer, size, pointer, size, pointer, size)

    @in_llvm(signature)
    def block(builder, rows, vectors, columns, K, a, a_row, a_k, b, b_k, init, init_row, c, c_row):
        operands = K, a, a_row, a_k, b, b_k, init, init_row, c, c_row
        on = Vectors(builder, dtype, pairs)
        # A switch over all shapes of a block: rows, vectors, and whether the last vector is full. Only blocks as
        # wide as a panel have a case without a mask.
        in_last = builder.sub(columns, builder.mul(builder.sub(vectors, _index(1)), _index(on.lanes)))
        mask = on.first(in_last)
        partial = builder.icmp_signed("<", columns, _index(max_vectors * on.lanes))
        masked = builder.zext(partial, _INDEX)
        shape = builder.add(builder.mul(rows, _index(16)), builder.add(builder.mul(vectors, _index(2)), masked))
        after, nowhere = builder.append_basic_block("after"), builder.append_basic_block("nowhere")
        shapes = builder.switch(shape, nowhere)
        for r in range(1, max_rows + 1):
            for v in range(1, max_vectors + 1):
                for m in (0, 1) if v == max_vectors else (1,):
                    shapes.add_case(_index(16 * r + 2 * v + m), here := builder.append_basic_block("block"))
                    builder.position_at_end(here)
                    _block(on, r, v, mask if m else None, *operands)
                    builder.branch(after)
        builder.position_at_end(nowhere)
        builder.branch(after)
        builder.position_at_end(after)

    return block
