"""nblstm's modules of torch as a contender: what torch is, with the same calls."""

from __future__ import annotations

import torch

import nblstm.torch
from benchmarks.networks import peephole
from benchmarks.peers import torch_


def start(threads: int) -> dict[str, str]:
    """Set the number of threads; versions of what will compute."""
    nblstm.set_num_threads(threads)
    return torch_.start(threads) | {"nblstm": nblstm.__version__}


class Contender(torch_.Contender):
    """Each method is one piece of work, timed as it stands."""

    def network(self) -> torch.nn.Module:
        """The module that computes."""
        work = self.work
        if work.cell == "peephole":
            return nblstm.torch.Recurrent(peephole, work.I, work.H)
        return getattr(nblstm.torch, work.cell.upper())(work.I, work.H)
