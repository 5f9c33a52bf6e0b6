"""The CPU as the engine sees it."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np

from nblstm.codegen.background import compile_while_waiting
from nblstm.cpu.arguments import DTYPES
from nblstm.cpu.arrays import HostArrays
from nblstm.cpu.kernels.loss import loss_kernel, loss_of_numbers
from nblstm.cpu.kernels.update import Update, update_kernel
from nblstm.cpu.layer_forward import LayerForward
from nblstm.cpu.layer_training import LayerTraining
from nblstm.cpu.partition import Sizes
from nblstm.cpu.threads import num_threads
from nblstm.cpu.warmup import compile_backward_while_waiting, compile_in_background, compile_kernels
from nblstm.cpu.weights import PackedNetwork


class Backend:
    """The kernels of the CPU, and NumPy's arrays."""

    arrays = HostArrays()
    #: Whether arrays are NumPy's, so that passes are used again.
    on_host = True
    updates = Update
    update_kernel = staticmethod(update_kernel)
    loss_of_numbers = staticmethod(loss_of_numbers)
    loss_kernel = staticmethod(loss_kernel)
    num_threads = staticmethod(num_threads)
    compile_while_waiting = staticmethod(compile_while_waiting)
    compile_kernels = staticmethod(compile_kernels)
    _context = nullcontext()

    def active(self):
        """A context in which arrays are made for this device."""
        return self._context

    @staticmethod
    def packed(network, parameters: dict[str, np.ndarray], training: bool) -> PackedNetwork:
        """Weights of a network as kernels read them; to be filled by its `pack`."""
        H = network.hidden_size
        return PackedNetwork(
            network.cell, parameters, H, network.num_layers, network.D, network.gates, training, network.precision
        )

    @staticmethod
    def layer_pass(
        network, batch, layer: int, I: int, states: np.ndarray, training: bool, checkpoint, own: dict[str, np.ndarray],
        every_state: bool = False,
    ) -> LayerForward | LayerTraining:  # fmt: skip
        """A pass through one layer of a network."""
        dtype = DTYPES[states.itemsize]
        compile_in_background(dtype, training)
        if training:
            compile_backward_while_waiting(network.cell, dtype)
            return LayerTraining(network, batch, layer, I, states, checkpoint, own, every_state)
        sizes = Sizes.of(network, I, states)
        return LayerForward(sizes, batch, [(0, batch.steps)] * sizes.D, None, every_state)

    @staticmethod
    def reserve_shapes(network, batch, rows: int, checkpoint: int | None) -> dict[str, tuple[int, ...]]:
        """Shapes of what a layer keeps for BPTT; see `LayerTraining.shapes`."""
        return LayerTraining.shapes(network, batch, rows, checkpoint)

    @staticmethod
    def finish() -> None:
        """Do nothing: the launches of a pass have ended, or raised their errors."""


_CPU = Backend()


def backend(index: int) -> Backend:
    """The CPU; ``index`` is 0."""
    return _CPU
