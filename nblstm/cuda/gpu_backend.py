"""One GPU as the engine sees it: a backend with the methods of `nblstm.cpu.backend`.

Not called ``backend``: a module of that name would take the place of the function `nblstm.cuda.backend` when imported.
"""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda import layer, steps
from nblstm.cuda.arrays import DeviceArrays, DeviceBatch
from nblstm.cuda.device_weights import DeviceWeights, pack_layer


class GpuBackend:
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

    def infer(self, cell: Cell, pool, weights: list[DeviceWeights], batch, x, states):
        """Inference through a stack.

        Parameters
        ----------
        cell : Cell
        pool
            Of the network; no pass is kept in it.
        weights : list of DeviceWeights
            One for each layer.
        batch : Batch
        x : array, shape (N, I)
            Packed rows.
        states : array, shape (S, L D, B, H)
            Initial states in sorted order; the final ones on return.

        Returns
        -------
        array, shape (N, D H)
            Outputs of the last layer.
        """
        with self.active(), self.arrays.visiting(batch, x, states=states) as guests:
            y = self._stack(cell, weights, guests.batch, guests.rows, guests.states)
            self.finish()
            return guests.home(y)

    def _stack(self, cell: Cell, weights: list[DeviceWeights], batch: DeviceBatch, x, states):
        """`infer` on arrays of this GPU; returns at once, while kernels are under way."""
        D = states.shape[1] // len(weights)
        for k, layer_weights in enumerate(weights):
            x = layer.infer(self.runtime, cell, layer_weights, batch, x, states[:, k * D : (k + 1) * D])
        return x

    def forward(self, cell: Cell, pool, weights, batch, x, state, checkpoint: int | None):
        """See `layer.forward`."""
        return layer.forward(self.runtime, cell, weights, batch, x, state, checkpoint)

    def backward(
        self, cell: Cell, tape, batch, dy, d_state, d_parameters: dict, layer_index: int, input_gradient: bool
    ):  # fmt: skip
        """See `layer.backward`."""
        return layer.backward(self.runtime, cell, tape, batch, dy, d_state, d_parameters, layer_index, input_gradient)

    def prepare(self, cell: Cell, weights, batch, input_size: int, states) -> BoundInference:
        """An inference pass over the same arrays each time."""
        return BoundInference(self, cell, weights, batch)

    def finish(self) -> None:
        """After the launches of a pass: raise the errors of kernels whose blocks wait for each other."""
        self.runtime.check()

    def compile_kernels(self, cell: Cell, dtype: str) -> None:
        """Compile what serves every shape; kernels of a whole sequence are compiled for theirs."""
        for training in (False, True):
            for kernel in steps.forward_kernels(cell, dtype, training):
                self.runtime.compile(kernel)
        for kernel in steps.backward_kernels(cell, dtype):
            self.runtime.compile(kernel)


class BoundInference:
    """Inference through a stack, over the same arrays each time, as a stepper uses it; for one thread at a time.

    Attributes
    ----------
    current : bool
        Nothing makes it stale but other weights.
    """

    current = True

    def __init__(self, backend: GpuBackend, cell: Cell, weights: list[DeviceWeights], batch: DeviceBatch):
        self._backend, self._cell, self._weights, self._batch = backend, cell, weights, batch

    def bind(self, x, y, states) -> None:
        """Set where packed inputs (N, I) are, where outputs (N, D H) go, and the states that are advanced."""
        self._x, self._y = x, y

    def launch(self, states) -> None:
        """Compute the outputs of what was bound, and advance the states."""
        with self._backend.active():
            self._y[...] = self._backend._stack(self._cell, self._weights, self._batch, self._x, states)
            self._backend.finish()
