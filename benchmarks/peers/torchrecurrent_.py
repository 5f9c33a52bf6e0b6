"""torchrecurrent as a contender: recurrent cells as loops in Python over modules of torch."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch
import torchrecurrent

from benchmarks.peers.work import Data, Work


def start(threads: int) -> dict[str, str]:
    """Set the number of threads; versions of what will compute."""
    torch.set_num_threads(threads)
    return {"torch": torch.__version__, "torchrecurrent": version("torchrecurrent")}


class Contender:
    """Each method is one piece of work, timed as it stands."""

    def __init__(self, work: Work, data: Data, training: bool):
        torch.manual_seed(0)
        self.net = getattr(torchrecurrent, work.cell)(work.I, work.H).requires_grad_(training)
        self.x = torch.from_numpy(data.x.copy()).requires_grad_(training)
        self.dy = torch.from_numpy(data.dy)
        self.leaves = [*self.net.parameters(), self.x]

    def inference(self):
        return self.net(self.x)

    def training(self):
        for leaf in self.leaves:
            leaf.grad = None
        y, state = self.net(self.x)
        y.backward(self.dy)
        return y, state

    def arrays(self, method: str, result) -> dict[str, np.ndarray]:
        """Nothing: weights are its own."""
        return {}
