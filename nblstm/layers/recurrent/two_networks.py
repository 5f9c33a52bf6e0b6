"""Passes of two networks that read the same sequences, in place of the engine's passes of one with two directions.

The functions are those of `nblstm.engine.engine` for a Bidirectional of layers that differ, each with a network of its
own: outputs lie side by side, states are those of the one network, then those of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.engine import engine
from nblstm.engine.tape import Tape

if TYPE_CHECKING:
    from nblstm.layers.recurrent.bidirectional import Bidirectional


def infer(layer: Bidirectional, x, state: tuple | None, lengths, mask, **options: Any) -> tuple[Any, tuple]:
    """Run both networks as `engine.infer` does."""
    start, other_start = _halves(layer, state)
    y, final = engine.infer(layer.forward_layer, x, start, lengths, mask, **options)
    other_y, other_final = engine.infer(layer.backward_layer, x, other_start, lengths, mask, **options)
    return _side_by_side(y, other_y), final + other_final


def forward(
    layer: Bidirectional, x, state: tuple | None, lengths, mask, **options: Any
) -> tuple[Any, tuple, list[Tape]]:  # fmt: skip
    """Run both networks as `engine.forward` does; with the tapes of both."""
    start, other_start = _halves(layer, state)
    y, final, tape = engine.forward(layer.forward_layer, x, start, lengths, mask, **options)
    other_y, other_final, other_tape = engine.forward(layer.backward_layer, x, other_start, lengths, mask, **options)
    return _side_by_side(y, other_y), final + other_final, [tape, other_tape]


def backward_into(
    tapes: list[Tape],
    dy: np.ndarray | None,
    d_state: tuple | None,
    flat: np.ndarray,
    input_gradient: bool,
    d_signals: dict[str, np.ndarray] | None = None,
) -> tuple[np.ndarray | None, tuple]:
    """Run BPTT through both networks as `engine.backward_into` does; ``flat`` is that of the one, then of the other."""
    network = tapes[0].network
    S, H, size = len(network.cell.states), network.hidden_size, network.layout.size
    own_dy, other_dy = (None, None) if dy is None else (dy[..., :H], dy[..., H:])
    d_final, other_d_final = (None, None) if d_state is None else (d_state[:S], d_state[S:])
    other: dict[str, np.ndarray] | None = None if d_signals is None else {}
    dx, d_start = engine.backward_into(tapes[0], own_dy, d_final, flat[:size], input_gradient, d_signals)
    other_dx, other_d_start = engine.backward_into(
        tapes[1], other_dy, other_d_final, flat[size:], input_gradient, other
    )
    if d_signals is not None and other is not None:
        for name, array in other.items():
            d_signals[name] = d_signals[name] + array
    return dx + other_dx if input_gradient else None, d_start + other_d_start


def _halves(layer: Bidirectional, state: tuple | None) -> tuple[tuple | None, tuple | None]:
    """States of each network."""
    S = len(layer.forward_layer.cell.states)
    return (None, None) if state is None else (state[:S], state[S:])


def _side_by_side(y: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    return None if y is None or other is None else np.concatenate([y, other], axis=-1)
