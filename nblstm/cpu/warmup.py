"""Every kernel that a cell can need, compiled ahead of its first use."""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.backward import backward_kernel, shared_backward_kernel
from nblstm.cpu.forward import forward_kernel, shared_forward_kernel
from nblstm.cpu.gemm import gemm
from nblstm.cpu.gradients import gradients_kernel
from nblstm.cpu.pointwise import backward_rows, forward_rows
from nblstm.cpu.weights import pack_kernel


def compile_kernels(cell: Cell, dtype: str) -> None:
    """Compile, or load from the cache, the kernels for one cell and dtype; all but the cell's own serve all cells."""
    threads.prepare()
    for kernel in (gemm, pack_kernel, gradients_kernel):
        kernel(dtype)
    for loop in (forward_kernel, shared_forward_kernel, backward_kernel, shared_backward_kernel):
        loop(dtype, cell.stages)
    for stage in range(1, cell.stages + 1):
        forward_rows(cell, dtype, False, stage)
        forward_rows(cell, dtype, True, stage)
        backward_rows(cell, dtype, stage)
