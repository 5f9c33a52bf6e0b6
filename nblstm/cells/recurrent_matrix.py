"""Recurrent matrices that are made of parameters: the weights of kernels, and their gradient's way back."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class RecurrentMatrix(Protocol):
    """A function from parameters to the recurrent weights R (G, H, H) of a layer, and its gradient.

    Objects that are equal give the same weights; one is part of a `Cell`.
    """

    def shapes(self, G: int, H: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters; names such as ``weight_hh``."""

    def weights(self, parameters: dict[str, np.ndarray], G: int, H: int) -> np.ndarray:
        """R, shape (G, H, H)."""

    def gradients(self, parameters: dict[str, np.ndarray], dR: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of the parameters from that of R."""
