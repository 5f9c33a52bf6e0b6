"""Dropout of one training pass: of the input, between layers, and of the recurrent product.

Factors are 0 with the probability of the network, else what keeps the mean (Srivastava et al. 2014). What BPTT reads of
them is in the reserve.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.engine.network import Network
from nblstm.engine.reserve import Reserve


def dropout_factors(generator: np.random.Generator, shape: tuple[int, ...], dtype, probability: float) -> np.ndarray:
    """Draw for each entry 0 with that probability, else what keeps the mean."""
    dtype = np.dtype(dtype)
    kept = generator.random(shape, dtype=dtype) >= probability
    return kept.astype(dtype) / dtype.type(1 - probability)


class Dropout:
    """Factors of a pass, drawn anew for each; none where there is no generator.

    Parameters
    ----------
    network : Network
    dropped : bool
        Whether the cell is that of recurrent dropout, see `Network.with_recurrent_dropout`.
    reserve : Reserve

    Attributes
    ----------
    input : list of array, shape (B, 1, I)
        Factors of a sequence's features, in all its steps, for each direction.
    recurrent : array, shape (num_layers D, P, H), or None
        Factors of the first state on its way into the recurrent product, for the P sequences of the packed batch.
    between : list of array, shape (N, D H)
        Factors of the outputs of each layer but the last.
    """

    def __init__(self, network: Network, dropped: bool, reserve: Reserve):
        self._reserve, self._dropped = reserve, dropped
        self._arrays, self._dtype = network.backend.arrays, network.dtype
        self._I, self._H, self._D, self._L = network.input_size, network.hidden_size, network.D, network.num_layers
        self._input_rate, self._recurrent_rate = network.input_dropout, network.recurrent_dropout
        self.rate = network.dropout
        self._generator: np.random.Generator | None = None
        self.input: list[Any] = []
        self.recurrent: Any = None
        self.between: list[Any] = []

    def _draw(self, generator: np.random.Generator, shape: tuple[int, ...], rate: float):
        return self._arrays.from_host(dropout_factors(generator, shape, self._dtype, rate))

    def begin(self, generator: np.random.Generator | None, batch, states) -> bool:
        """Draw the factors of the input and of the recurrent product, direction by direction.

        Parameters
        ----------
        generator : Generator or None
        batch : Batch, MaskedBatch or ResetBatch
        states : array, shape (S, num_layers D, P, H)
            All states before the first step; those of recurrent dropout are set.

        Returns
        -------
        bool
            Whether states have been set.
        """
        self._generator, self.input, self.recurrent, self.between = generator, [], None, []
        if generator is None or not (self._input_rate or self._dropped):
            return False
        B, recurrent = batch.B, []
        for place in range(self._L * self._D):
            if self._input_rate and place < self._D:
                self.input.append(self._draw(generator, (B, 1, self._I), self._input_rate))
            if self._dropped:
                recurrent.append(self._draw(generator, (B, self._H), self._recurrent_rate))
        if self.input:
            self.input = list(self._reserve.keep("input_factors", self._arrays.stacked(self.input)))
        if recurrent:
            self.recurrent = self._reserve.keep("recurrent_factors", batch.sort(self._arrays.stacked(recurrent)))
            states[0] = self.recurrent * states[1]
            states[-1] = self.recurrent
        return bool(recurrent)

    def on_input(self, x, batch):
        """Packed inputs (N, I) from x (T, B, I), or (D, N, I) for two directions."""
        x = x.swapaxes(0, 1)
        rows = [batch.pack((x * factors).swapaxes(0, 1)) for factors in self.input]
        return self._reserve.keep("x", rows[0] if len(rows) == 1 else self._arrays.stacked(rows))

    def d_on_input(self, d_rows, batch):
        """The gradient (T, B, I) of `on_input`."""
        dx = None
        for own, factors in zip(d_rows if d_rows.ndim == 3 else [d_rows], self.input, strict=True):
            part = batch.d_pack(own[: batch.N]) * factors.swapaxes(0, 1)
            dx = part if dx is None else dx + part
        return dx

    def on_outputs(self, k: int, rows):
        """Inputs of layer k from outputs of the layer before it, both (N, D H)."""
        if self._generator is None or not self.rate:
            return rows
        factors = self._draw(self._generator, rows.shape, self.rate)
        self.between.append(self._reserve.keep(f"factors_{k}", factors))
        return self._reserve.keep(f"x_{k}", rows * factors)

    def d_recurrent(self, d_states) -> None:
        """Add to the first state's gradient that of its dropout."""
        if self.recurrent is not None:
            d_states[1] += self.recurrent * d_states[0]

    def attach(self) -> None:
        """Take the factors that are in the reserve."""
        own = self._reserve
        self.input = list(own["input_factors"]) if self._input_rate else []
        self.recurrent = own.get("recurrent_factors")
        self.between = [own[f"factors_{k}"] for k in range(1, self._L)] if self.rate else []
