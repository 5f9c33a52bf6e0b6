"""Every kernel that a cell can need, compiled ahead of its first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from nblstm.cells.cell import Cell
from nblstm.cells.source import computing
from nblstm.cells.stages import backward_program, forward_program
from nblstm.codegen import background
from nblstm.codegen.compiler import stored
from nblstm.cpu import threads
from nblstm.cpu.kernels.backward import backward_by_rows, backward_by_units
from nblstm.cpu.kernels.forward import forward_by_rows, forward_by_units
from nblstm.cpu.kernels.gather import copy_kernel, gather_kernel, pack_rows_kernel
from nblstm.cpu.kernels.gradients import gradients_kernel
from nblstm.cpu.kernels.inputs import input_products
from nblstm.cpu.kernels.pointwise import backward_rows, forward_rows
from nblstm.cpu.kernels.state_gradients import state_gradients_kernel
from nblstm.cpu.matrix.gemm import gemm
from nblstm.cpu.matrix.products import dtype_of, product, product_of_columns
from nblstm.cpu.matrix.sparse import sparse_weight_block
from nblstm.cpu.weights import packing


@cache
def compile_in_background(dtype: str, training: bool) -> None:
    """Begin to compile in a second process, unless they are in the cache, what serves all cells.

    What it has is about half of what is left, in the order in which this process will want it.
    """
    kernels: dict[str, tuple[Callable, tuple]] = {f"gemm_{dtype}": (gemm, (dtype,))}
    if training:
        kernels |= {f"backward_by_rows_{dtype}": (backward_by_rows, (dtype,)),
                    f"gradients_{dtype}": (gradients_kernel, (dtype,))}  # fmt: skip
    else:
        kernels |= {f"inputs_{dtype}": (input_products, (dtype,))}
    missing = {name: kernel for name, kernel in kernels.items() if not stored(name)}
    if missing:
        background.start(missing)


@cache
def compile_backward_while_waiting(cell: Cell, dtype: str) -> None:
    """Compile what only this cell has in its backward pass while others are waited for."""
    for stage in computing(backward_program(cell)):
        background.compile_while_waiting(backward_rows, cell, dtype, stage)


def compile_kernels(cell: Cell, precision: str) -> None:
    """Compile, or load from the cache, all kernels for a cell and precision; all but the cell's own serve all cells."""
    dtype = dtype_of(precision)
    compile_in_background(dtype, True)
    threads.prepare()
    for kernel in (product, product_of_columns, input_products, packing):
        kernel(precision)
    for kernel in (gradients_kernel, sparse_weight_block, copy_kernel, gather_kernel):
        kernel(dtype)
    pack_rows_kernel(dtype)
    state_gradients_kernel(dtype)
    for loop in (forward_by_rows, forward_by_units, backward_by_rows, backward_by_units):
        loop(dtype)
    for training in (False, True):
        for stage in computing(forward_program(cell), training):
            forward_rows(cell, dtype, training, stage)
            if len(cell.states) > 1 and not training:
                forward_rows(cell, dtype, False, stage, taping=True)
    for stage in computing(backward_program(cell)):
        backward_rows(cell, dtype, stage)
