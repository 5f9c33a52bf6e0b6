"""One GPU as the engine sees it: a backend with the methods of `nblstm.cpu.backend`.

Not called ``backend``: a module of that name would take the place of the function `nblstm.cuda.backend` when imported.
"""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda import steps
from nblstm.cuda.arrays import DeviceArrays
from nblstm.cuda.device_weights import DeviceNetwork
from nblstm.cuda.layer import LayerPass


class GpuBackend:
    """Kernels and arrays of one GPU.

    Parameters
    ----------
    runtime : Runtime
    """

    #: Whether arrays are NumPy's, so that passes are used again.
    on_host = False

    def __init__(self, runtime):
        self.runtime = runtime
        self.arrays = DeviceArrays(runtime)

    def active(self):
        """A context in which arrays are made on this GPU."""
        return self.runtime.active()

    @staticmethod
    def num_threads() -> int:
        """1: the threads of the CPU have no part in it."""
        return 1

    def packed(self, network, parameters: dict, training: bool) -> DeviceNetwork:
        """Weights of a network on the GPU; to be filled by its `pack`."""
        return DeviceNetwork(self.runtime, network)

    def layer_pass(self, network, batch, layer: int, I: int, states, training: bool, checkpoint, own) -> LayerPass:
        """A pass through one layer of a network; see `layer.LayerPass`."""
        return LayerPass(self.runtime, network, batch, layer, training, checkpoint)

    def finish(self) -> None:
        """After the launches of a pass: raise the errors of kernels whose blocks wait for each other."""
        self.runtime.check()

    def compile_kernels(self, cell: Cell, dtype: str) -> None:
        """Compile what serves every shape; kernels of a whole sequence are compiled for theirs."""
        for kind in ("inference", "training", "backward"):
            for kernel in steps.step_kernels(cell, dtype, kind):
                self.runtime.compile(kernel)
