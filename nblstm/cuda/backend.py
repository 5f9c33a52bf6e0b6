"""One GPU as the engine sees it."""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda import inference, layer, steps
from nblstm.cuda.arrays import DeviceArrays
from nblstm.cuda.weights import pack_layer


class Backend:
    """Kernels and arrays of one GPU.

    Parameters
    ----------
    runtime : Runtime
    """

    #: See `nblstm.cpu.backend.Backend`.
    replays = False

    def __init__(self, runtime):
        self.runtime = runtime
        self.arrays = DeviceArrays(runtime)

    def active(self):
        """A context in which arrays are made on this GPU."""
        return self.runtime.active()

    def pack_layer(self, cell: Cell, parameters: dict, layer_index: int, directions: int, training: bool):
        """The weights of a layer on the GPU, the same for inference and training."""
        with self.active():
            return pack_layer(self.runtime, cell, parameters, layer_index, directions)

    def infer(self, cell: Cell, pool, weights, batch, x, states):
        """Inference through a stack; see `inference.infer`. No pass is kept in the pool."""
        with self.active(), self.arrays.visiting(batch, x, states=states) as guests:
            y = inference.infer(self.runtime, cell, weights, guests.batch, guests.rows, guests.states)
            self.finish()
            return guests.home(y)

    def forward(self, cell: Cell, pool, weights, batch, x, state, checkpoint: int | None):
        """See `layer.forward`."""
        return layer.forward(self.runtime, cell, weights, batch, x, state, checkpoint)

    def backward(
        self, cell: Cell, tape, batch, dy, d_state, d_parameters: dict, layer_index: int, input_gradient: bool
    ):  # fmt: skip
        """See `layer.backward`."""
        return layer.backward(self.runtime, cell, tape, batch, dy, d_state, d_parameters, layer_index, input_gradient)

    def prepare(self, cell: Cell, weights, batch, input_size: int, states) -> inference.Inference:
        """An inference pass over the same arrays each time."""
        return inference.Inference(self.runtime, cell, weights, batch)

    def finish(self) -> None:
        """After the launches of a pass: errors of kernels that wait for each other are raised."""
        self.runtime.check()

    def compile_kernels(self, cell: Cell, dtype: str) -> None:
        """Compile what serves every shape; persistent kernels are compiled for theirs."""
        for training in (False, True):
            for kernel in steps.forward_steps(cell, dtype, training):
                self.runtime.compile(kernel)
        for kernel in steps.backward_steps(cell, dtype):
            self.runtime.compile(kernel)
