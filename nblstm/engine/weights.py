"""Weights of a network as kernels read them, packed from its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.engine.network import Network


class Weights:
    """The parameters at one moment, as the device's kernels read them.

    Attributes
    ----------
    layers : list
        By layer.
    parameters : dict of str to ndarray
        What recurrent matrices are made of; empty if they are parameters themselves.
    matrices : list of RecurrentMatrix
        For each layer and direction.
    seed : int
        What the matrices were drawn from; 0 if none were.
    """

    def __init__(self, layers: list, parameters: dict[str, np.ndarray], matrices: list[Any], seed: int):
        self.layers, self.parameters, self.matrices, self.seed = layers, parameters, matrices, seed
        self.loan: object = None


def packed(network: Network, parameters: dict[str, np.ndarray], training: bool, seed: int = 0) -> Weights:
    """Pack the parameters as they are now.

    Parameters
    ----------
    network : Network
    parameters : dict of str to ndarray
        By torch's names, each C-contiguous and of the network's dtype.
    training : bool
        Whether for training, where BPTT follows, or for inference.
    seed : int, default 0
        What recurrent matrices that are noisy are drawn from; 0: none are drawn.

    Returns
    -------
    Weights
        Their memory is used again when they are gone.
    """
    made_of: dict[str, np.ndarray] = {}
    matrices: list[Any] = []
    if network.kernel_layout is not network.layout:
        made_of = {name: array.copy() for name, array in parameters.items()}
        matrices = network.matrices(np.random.default_rng(seed) if seed else None)
        parameters = network.kernel_parameters(parameters, matrices)
    key = "weights", training
    free = network.pool.get(key) or network.pool.second(key)
    own: Any = None if free is None else free.take()
    if own is None:
        own = network.backend.packed(network, parameters, training)
        if free is not None:
            free.add(own)
    own.pack(parameters)
    weights = Weights(own.layers, made_of, matrices, seed)
    if free is not None and free.keeps:
        weights.loan = free.lend(own, weights)
    return weights


def _named(module: Any) -> dict[str, np.ndarray]:
    """The parameters of a module's network, the same dict for as long as they are in the same memory."""
    if module._named is None:
        module._named = module._network.layout.views(module._flat)
    return module._named


def weights_of(module: Any, training: bool, generator: np.random.Generator | None = None, seed: int = 0) -> Weights:
    """The weights of a module's network, packed anew when the parameters may have changed, or are drawn.

    Parameters
    ----------
    module : Module
        With ``_network``, and what it derives from its parameters.
    training : bool
    generator : Generator, optional
        Of the noise of training.
    seed : int, default 0
        `Weights.seed` of earlier weights that are wanted again; 0 for none.
    """
    matrix = module._network.cell.matrix
    if generator is not None and matrix is not None and matrix.is_noisy:
        seed = int(generator.integers(1, 2**62))
    if seed:
        return packed(module._network, _named(module), training, seed)
    weights = None if module._lent else module._cache.get(training)
    if weights is None:
        weights = module._derived(training, lambda _: packed(module._network, _named(module), training))
    return weights
