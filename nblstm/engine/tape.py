"""Results of training passes: the tape, which `backward` reads, and gradients."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nblstm.buffers.pool import FreeList
from nblstm.engine.network import Network
from nblstm.engine.passes import Pass
from nblstm.engine.weights import Weights


@dataclass(slots=True, eq=False)
class Gradients:
    """Gradients of a loss.

    Attributes
    ----------
    params : dict of str to ndarray
        By parameter name, each a view of ``flat``.
    flat : ndarray
        All of them in one buffer, in the order of the network's own.
    x : ndarray or None
        With respect to the input, in its shape.
    state : tuple of ndarray
        With respect to the initial states.
    signals : dict of str to ndarray
        With respect to the signals of the cell, in their shapes.
    steps : tuple of ndarray, each (num_layers D, T, B)
        Of each state, if asked for: the norm over the units of its gradient at each step; 0 beyond a sequence's end.
    """

    params: dict[str, np.ndarray]
    flat: np.ndarray
    x: np.ndarray | None = None
    state: tuple[np.ndarray, ...] = ()
    signals: dict[str, np.ndarray] = field(default_factory=dict)
    steps: tuple[np.ndarray, ...] = ()

    def __repr__(self):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in self.params.items())
        return f"<Gradients of {shapes or 'no parameters'}>"


class Tape:
    """A training pass on loan, for `backward`, any number of times; when this is gone, the pass is used again.

    Attributes
    ----------
    network : Network
    made : Pass
    weights : Weights
        Of the forward pass.
    kind : object
        On another device than the CPU, the kind of array that the input was.
    """

    def __init__(self, network: Network, made: Pass, weights: Weights, free: FreeList | None):
        self.network, self.made, self.weights, self.kind = network, made, weights, None
        self._loan = free.lend(made, self) if made.kept and free is not None else None

    def __repr__(self):
        return f"<Tape of {self.network.cell.name}, T={self.made.batch.T}, B={self.made.batch.B}>"

    def __reduce__(self):
        raise TypeError("a tape cannot be copied or pickled, as it belongs to one network; run its forward() again")
