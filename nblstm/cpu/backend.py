"""The CPU as the engine sees it."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np

from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.codegen.background import compile_while_waiting
from nblstm.cpu.inference import Inference, infer
from nblstm.cpu.jobs import DTYPES
from nblstm.cpu.kernels.loss import loss_kernel, loss_of_numbers
from nblstm.cpu.kernels.update import Update, update_kernel
from nblstm.cpu.layer import backward, forward
from nblstm.cpu.ragged import Arrays
from nblstm.cpu.repeated import Repeated
from nblstm.cpu.warmup import compile_aside, compile_kernels, foresee_backward
from nblstm.cpu.weights import Weights, pack_weights


class Backend:
    """The kernels of the CPU, and NumPy's arrays."""

    arrays = Arrays()
    #: Whether a pass over small arrays of its own, copied in and out, is the quicker one.
    replays = True
    infer = staticmethod(infer)
    forward = staticmethod(forward)
    backward = staticmethod(backward)
    prepare = Inference
    repeated = Repeated
    updates = Update
    update_kernel = staticmethod(update_kernel)
    loss_of_numbers = staticmethod(loss_of_numbers)
    loss_kernel = staticmethod(loss_kernel)
    foresee = staticmethod(compile_while_waiting)
    compile_kernels = staticmethod(compile_kernels)
    _context = nullcontext()

    def active(self):
        """A context in which arrays are made for this device."""
        return self._context

    @staticmethod
    def pack_layer(
        cell: Cell, parameters: dict[str, np.ndarray], layer: int, directions: int, training: bool
    ) -> list[Weights]:
        """The weights of a layer as kernels read them, one for each direction."""
        dtype = DTYPES[parameters[f"weight_hh{suffix(layer, 0)}"].itemsize]
        compile_aside(dtype, cell.stages, training)
        if training:
            foresee_backward(cell, dtype)
        return [pack_weights(cell, parameters, layer, direction, training) for direction in range(directions)]

    @staticmethod
    def finish() -> None:
        """After the launches of a pass: here they have ended, or raised their errors."""


_CPU = Backend()


def backend(index: int) -> Backend:
    """The CPU; ``index`` is 0."""
    return _CPU
