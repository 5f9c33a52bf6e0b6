"""Requests of a user for the gradients of each step's states: to clip, cut, add to and measure them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.each_step import Clip, EachStep
from nblstm.cells.cell import Cell
from nblstm.engine.inputs import output_gradient
from nblstm.engine.network import Network
from nblstm.engine.passes import Pass

_FORMS = "a number, ('value', limit), ('norm', limit), an array of limits (H,), or a dict of these by state"


class Asked(NamedTuple):
    """Arguments of `backward` as the user gave them.

    Attributes
    ----------
    clip : object
        See `clips`.
    truncate : int or None
    steps : bool
        Whether the norms of the gradients are wanted.
    d_states : tuple of array_like, or None
        Gradients with respect to the states of the last layer at each step.
    """

    clip: Any = None
    truncate: Any = None
    steps: Any = False
    d_states: Any = None

    def of_layers(self, network: Network, made: Pass, dy) -> tuple[Any, list[EachStep] | None]:
        """The gradient of the outputs with that of the output state added, and what is to be done in each layer.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        if not any(one is not None and one is not False for one in self):
            return dy, None
        if not network.on_host:
            raise ValueError(
                "clip, truncate, steps and dstates are for networks on the CPU, and this one is on "
                f"{network.device!r}; leave them out"
            )
        states, D, L = network.cell.states, network.D, network.num_layers
        found = clips(self.clip, states, network.hidden_size, network.numpy_dtype)
        truncate = 0 if self.truncate is None else validate.positive_integer("truncate", self.truncate)
        norms = None
        if validate.flag("steps", self.steps):
            norms = np.zeros((L, len(states), D, made.batch.N), network.numpy_dtype)
        given = self._given(network, made)
        k = states.index(network.cell.output)
        if given and given[k] is not None:
            dy = given[k] if dy is None else output_gradient(network, dy, made.batch, made.batched) + given[k]
            given[k] = None
        rows = [None if one is None else made.layout.rows_of(one) for one in given]
        mask = made.dropout.recurrent
        return dy, [
            EachStep(
                found, truncate, rows if layer == L - 1 else [], None if norms is None else norms[layer],
                None if mask is None else mask[layer * D : (layer + 1) * D],
            )
            for layer in range(L)
        ]  # fmt: skip

    def _given(self, network: Network, made: Pass) -> list[Any]:
        states = network.cell.states
        if self.d_states is None:
            return []
        if not isinstance(self.d_states, tuple | list) or len(self.d_states) != len(states):
            raise ValueError(
                f"dstates is {validate.came(self.d_states)}; give a tuple of {len(states)} ({', '.join(states)}), each "
                "in the shape of y, or None for zeros"
            )
        return [
            None if one is None else output_gradient(network, one, made.batch, made.batched, f"dstates {name!r}", size)
            for name, one, size in zip(states, self.d_states, network.state_sizes, strict=True)
        ]


def states_at_each_step(made: Pass, cell: Cell) -> tuple[Any, ...]:
    """Each state of the last layer after a pass, in the layout of its outputs, in arrays of their own."""
    found = []
    for k, name in enumerate(cell.states, made.core.start or 0):
        rows = made.y if name == cell.output else made.layers[-1].states_at_each_step(k)
        rows = rows[: made.batch.N]
        whole = made.layout.in_layout(rows) if made.batch.direct else made.layout.user(made.batch.unpack(rows))
        found.append(np.array(whole))
    return tuple(found)


def clips(clip, states: tuple[str, ...], H: int, dtype: np.dtype) -> list[Clip | None]:
    """Read how the gradient of each state is to be clipped.

    Parameters
    ----------
    clip : float, (str, float), array_like of shape (H,), dict of str to these, or None
        One for all states, or by state; a tuple begins with ``"value"`` or ``"norm"``.
    states : tuple of str
    H : int
    dtype : dtype

    Raises
    ------
    TypeError, ValueError
        If it is nothing of these, a limit is below 0 or NaN, or there is no such state.
    """
    if isinstance(clip, Mapping):
        for name in clip:
            if name not in states:
                raise ValueError(f"clip has {validate.unknown(name, states)}")
        return [_clip(clip.get(name), H, dtype) for name in states]
    return [_clip(clip, H, dtype)] * len(states)


def _clip(clip, H: int, dtype: np.dtype) -> Clip | None:
    if clip is None:
        return None
    by_norm, limits = False, clip
    if isinstance(clip, tuple) and len(clip) == 2 and isinstance(clip[0], str):
        kind, limits = clip
        if kind not in ("value", "norm") or (kind == "norm" and not isinstance(limits, Real)):
            raise ValueError(f"clip is {clip!r}; give {_FORMS}")
        by_norm = kind == "norm"
    try:
        array = np.asarray(limits, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"clip is {clip!r}; give {_FORMS}") from None
    if isinstance(limits, str | bool) or array.shape not in ((), (H,)):
        raise ValueError(f"clip is {validate.came(clip)}; give {_FORMS}, with H = {H}")
    if not (array >= 0).all():
        raise ValueError(f"clip has the limit {array.min() if array.ndim else float(array)}; give numbers of 0 or more")
    with np.errstate(over="ignore"):  # a limit that float32 does not hold is none
        return Clip(by_norm, np.ascontiguousarray(np.broadcast_to(array, (H,)), dtype))
