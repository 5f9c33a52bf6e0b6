"""Derivatives of a network in a direction, and of its gradient: runs of the cell with its tangent, see `cells.dual`.

The dual cell's network of one layer and direction gives outputs and their tangents, which the next layer reads. BPTT
through these runs is the derivative of the gradient in that direction: reverse mode over forward mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.layout import suffix
from nblstm.cells.dual import TANGENT
from nblstm.engine import engine
from nblstm.engine.asked import Asked
from nblstm.engine.inputs import check_names, time_major_flags
from nblstm.engine.network import Network
from nblstm.engine.tape import Gradients
from nblstm.nn.direction import Direction, checked_direction, checked_names
from nblstm.nn.module import Module
from nblstm.nn.tangents import DualParameters

if TYPE_CHECKING:
    from nblstm.nn.recurrent import Recurrent

Arrays = dict[str, np.ndarray]


class _DualModule(Module):
    """The network of the dual cell for one layer and direction."""

    def __init__(self, parameters: DualParameters, reverse: bool, dtype: str, own: Arrays, tangents: Arrays):
        self._network = Network(
            cell=parameters.cell, input_size=2 * parameters.I, hidden_size=parameters.H, num_layers=1,
            directions=(reverse,), batch_first=False, dtype=dtype, device="cpu", layout=parameters.layout,
            learn_initial_state=parameters.learns,
        )  # fmt: skip
        super().__init__(parameters.layout, parameters.joined(own, tangents))


class _Layer(NamedTuple):
    parameters: DualParameters
    tape: Any
    end: str  # of the names of its parameters


class DualRun:
    """A network and its tangent, run over a batch.

    Parameters
    ----------
    network : Recurrent
    x : array_like, in the layout of the network's input
    direction : Direction
    state : tuple of array_like or None
    lengths : array_like of int or None
    mask, resets : array_like of bool, in the shape of x without its features, or None
    signals : dict of str to array_like or None

    Attributes
    ----------
    y, d_y : ndarray
        Outputs and their tangents, in the network's layout.
    states, d_states : tuple of ndarray, each (num_layers D, B, H)
        Final ones.

    Raises
    ------
    TypeError, ValueError
        If something is of another shape than what it belongs to.
    """

    def __init__(self, network: Recurrent, x, direction: Direction, state, lengths, mask, resets, signals):
        direction = checked_direction(direction)
        self._plan = plan = network._network.without_noise
        if not plan.on_host:
            raise ValueError(
                f"derivatives of this kind are for networks on the CPU, and this one is on {plan.device!r}"
            )
        self._real = plan.backend.arrays.real
        x = self._real("x", x, plan.dtype)
        if x.ndim not in (2, 3) or x.shape[-1] != plan.input_size:
            raise ValueError(f"x has shape {x.shape}; give that of the network's input, with I = {plan.input_size}")
        self._batched = x.ndim == 3
        now, moved = self._time_major(x), self._time_major(self._like("direction.x", direction.x, x))
        self._tangents = self._named("direction.params", direction.params, network.state_dict(), plan.layout.shapes)
        self._values = {name: value.astype("f8") for name, value in network.state_dict().items()}
        own, dual = self._kernel_parameters()
        B, S = now.shape[1], len(plan.cell.states)
        self._learned = state is None
        states = [*self._states(network, state, B), *self._d_states(direction.state, B)]
        given = self._signals(signals, direction.signals)
        mask, resets = (
            None if flags is None else time_major_flags(plan, name, flags, x.shape[:-1], verb)
            for name, flags, verb in (("mask", mask, "counts"), ("resets", resets, "begins with the initial states"))
        )
        output, D, bias = plan.cell.states.index(plan.cell.output), plan.D, any("bias" in name for name in own)
        self._layers: list[list[_Layer]] = []
        finals = np.zeros((2 * S, plan.num_layers * D, B, plan.hidden_size), plan.dtype)
        for k in range(plan.num_layers):
            parameters = DualParameters(
                plan.cell, now.shape[2], plan.hidden_size, plan.gates, bias, plan.learn_initial_state, plan.dtype
            )  # fmt: skip
            if plan.cell.takes_x:
                given |= {"own_x": now, "own_x" + TANGENT: moved}
            ys, dys, layers = [], [], []
            for d in range(D):
                end, row = suffix(k, d), k * D + d
                made = _DualModule(parameters, plan.directions[d], plan.dtype, _of(own, end), _of(dual, end))
                begin = tuple(np.ascontiguousarray(each[row : row + 1]) for each in states)
                both = np.concatenate([now, moved], axis=2)
                every, final, tape = engine.forward(
                    made, both, begin, lengths, mask, resets, signals=given or None, all_states=True
                )  # fmt: skip
                finals[:, row] = [each[0] for each in final]
                ys.append(every[output])
                dys.append(every[S + output])
                layers.append(_Layer(parameters, tape, end))
            now, moved = np.concatenate(ys, axis=2), np.concatenate(dys, axis=2)
            self._layers.append(layers)
        self.y, self.d_y = self._user(self._sliced(now)), self._user(self._sliced(moved))
        self.states, self.d_states = self._final(finals[:S]), self._final(finals[S:])

    def gradients(self, d_of_y, d_of_d_y) -> tuple[Gradients, Gradients]:
        """Gradients of a loss of outputs and their tangents: with respect to the direction, and to the network.

        Parameters
        ----------
        d_of_y, d_of_d_y : array_like
            Gradients with respect to ``y`` and ``d_y``, in their shapes.
        """
        plan, S = self._plan, len(self._plan.cell.states)
        output, H = plan.cell.states.index(plan.cell.output), plan.hidden_size
        d = [self._padded(self._like(name, own, self.y)) for name, own in (("dy", d_of_y), ("d_dy", d_of_d_y))]
        own, moved = (np.zeros(plan.kernel_layout.size, plan.dtype) for _ in range(2))
        views = [plan.kernel_layout.views(flat) for flat in (own, moved)]
        d_states = np.zeros((2 * S, plan.num_layers * plan.D, d[0].shape[1], H), plan.dtype)
        d_signals: Arrays = {}
        for k in reversed(range(plan.num_layers)):
            below: Any = 0
            for n, layer in enumerate(self._layers[k]):
                each: list[Any] = [None] * (2 * S)
                each[output], each[S + output] = (part[..., n * H : (n + 1) * H] for part in d)
                found = engine.backward(layer.tape, None, None, Asked(d_states=tuple(each)))
                below = below + found.x
                for view, part in zip(views, layer.parameters.split(found.params), strict=True):
                    for name, array in part.items():
                        view[name + layer.end][...] = array
                d_states[:, k * plan.D + n] = [one[0] for one in found.state]
                for name, value in found.signals.items():
                    if name.startswith("own_x"):
                        half = slice(H, 2 * H) if name.endswith(TANGENT) else slice(H)
                        below[..., half] += value
                    else:
                        d_signals[name] = d_signals.get(name, 0) + value
            d = np.split(below, 2, axis=2)
        # Beside what pieces behind resets have added, whose states are the network's own.
        learned = plan.learn_initial_state and self._learned
        ends = [layer.end for layers in self._layers for layer in layers] if learned else []
        for view, of_states in zip(views, (d_states[:S], d_states[S:]), strict=True):
            for state_name, of_state in zip(plan.cell.states, of_states, strict=True):
                for row, end in enumerate(ends):
                    view[f"initial_{state_name}{end}"] += of_state[row].sum(axis=0)
        plain = self._pulled(self._values, moved)
        product = self._pulled(self._values, own)
        if plan.kernel_layout is not plan.layout:  # the weights' own second derivative, of a product such as U V
            further = {name: value + self._tangents[name] for name, value in self._values.items()}
            product = product + self._pulled(further, moved) - plain
        signals = {name: value for name, value in d_signals.items() if not name.endswith(TANGENT)}
        return (
            self._returned(plain, d[1], d_states[S:], {
                name.removesuffix(TANGENT): value for name, value in d_signals.items() if name not in signals
            }),
            self._returned(product, d[0], d_states[:S], signals),
        )  # fmt: skip

    # --- parameters -----------------------------------------------------------------------------------

    def _kernel_parameters(self) -> tuple[Arrays, Arrays]:
        """The parameters as kernels have them, and their tangents, exact for products of two: a central difference."""
        plan = self._plan
        own = _copied(plan.kernel_parameters({n: v.astype(plan.dtype) for n, v in self._values.items()}))
        if plan.kernel_layout is plan.layout:
            return own, {name: value.astype(plan.dtype) for name, value in self._tangents.items()}
        above, below = (
            {name: np.ascontiguousarray(value + sign * self._tangents[name]) for name, value in self._values.items()}
            for sign in (1, -1)
        )
        above, below = (_copied(plan.in_float64.kernel_parameters(each)) for each in (above, below))
        return own, {name: ((above[name] - below[name]) / 2).astype(plan.dtype) for name in above}

    def _pulled(self, values: Arrays, kernel_flat: np.ndarray) -> np.ndarray:
        """The gradient of the user's parameters, at these values, from that of the kernels'."""
        plan = self._plan
        if plan.kernel_layout is plan.layout:
            return kernel_flat
        flat = np.empty(plan.layout.size, plan.dtype)
        weights: Any = SimpleNamespace(parameters=values, matrices=plan.matrices())
        plan.gradients_of(weights, kernel_flat, flat)
        return flat

    # --- arrays ---------------------------------------------------------------------------------------

    def _like(self, name: str, value, other: np.ndarray) -> np.ndarray:
        """An array of the shape of another; zeros for None."""
        if value is None:
            return np.zeros_like(other)
        return validate.shaped(
            name, self._real(name, value, self._plan.dtype), other.shape, "that of what it belongs to"
        )

    def _named(self, what: str, given, values: Mapping[str, np.ndarray], names) -> Arrays:
        """Tangents of named arrays, 0 for those that are not given, as float64."""
        given = checked_names(what, given, names)
        return {
            name: self._like(f"{what}[{name!r}]", given.get(name), value).astype("f8") for name, value in values.items()
        }

    def _time_major(self, x: np.ndarray) -> np.ndarray:
        return x[:, None] if not self._batched else x.swapaxes(0, 1) if self._plan.batch_first else x

    def _user(self, x: np.ndarray) -> np.ndarray:
        return x[:, 0] if not self._batched else x.swapaxes(0, 1) if self._plan.batch_first else x

    def _sliced(self, y: np.ndarray) -> np.ndarray:
        plan = self._plan
        return y.reshape(*y.shape[:2], plan.D, plan.hidden_size)[..., : plan.output_size].reshape(
            *y.shape[:2], plan.D * plan.output_size
        )

    def _padded(self, d_y: np.ndarray) -> np.ndarray:
        plan, own = self._plan, self._time_major(d_y)
        made = np.zeros((*own.shape[:2], plan.D, plan.hidden_size), plan.dtype)
        made[..., : plan.output_size] = own.reshape(*own.shape[:2], plan.D, plan.output_size)
        return made.reshape(*own.shape[:2], plan.D * plan.hidden_size)

    def _states(self, network: Recurrent, state, B: int) -> list[np.ndarray]:
        if state is None:
            own = self._plan.initial_states(network._flat)
            return [np.repeat(each[:, None], B, axis=1).astype(self._plan.dtype) for each in own]
        return self._full("state", state, B)

    def _d_states(self, d_state, B: int) -> list[np.ndarray]:
        S, *shape = self._plan.states_shape(B)
        made = [np.zeros(shape, self._plan.dtype) for _ in range(S)]
        if d_state is not None:
            made = self._full("direction.state", d_state, B)
        if self._learned and self._plan.learn_initial_state:
            flat = np.concatenate([self._tangents[name].ravel() for name in self._plan.layout.shapes])
            for own, learned in zip(made, self._plan.initial_states(flat), strict=True):
                own += learned[:, None]
        return made

    def _full(self, name: str, state, B: int) -> list[np.ndarray]:
        """States that a user gave, of all H units."""
        plan, rows = self._plan, self._plan.num_layers * self._plan.D
        state = state if isinstance(state, tuple | list) else (state,)
        if len(state) != len(plan.cell.states):
            raise ValueError(f"{name} has {len(state)} arrays; give one for each of {', '.join(plan.cell.states)}")
        made = np.zeros((len(state), rows, B, plan.hidden_size), plan.dtype)
        for target, value, size in zip(made, state, plan.state_sizes, strict=True):
            shape = (rows, B, size) if self._batched else (rows, size)
            own = validate.shaped(name, self._real(name, value, plan.dtype), shape, "(num_layers * directions, B, H)")
            target[..., :size] = own if self._batched else own[:, None]
        return list(made)

    def _final(self, states: np.ndarray) -> tuple[np.ndarray, ...]:
        sizes = self._plan.state_sizes
        cut = [each[..., :size] for each, size in zip(states, sizes, strict=True)]
        return tuple(each if self._batched else each[:, 0] for each in cut)

    def _signals(self, signals, d_signals) -> Arrays:
        given = {} if signals is None else signals
        check_names(self._plan, signals)
        own = {name: self._real(name, value, self._plan.dtype) for name, value in given.items()}
        moved = self._named("direction.signals", d_signals, own, own)
        found = own | {name + TANGENT: value.astype(self._plan.dtype) for name, value in moved.items()}
        return {name: self._time_major(value) for name, value in found.items()}

    def _returned(self, flat: np.ndarray, x: np.ndarray, states: np.ndarray, signals: Arrays) -> Gradients:
        flat = np.ascontiguousarray(flat, self._plan.dtype)
        named = {name: self._user(value) for name, value in signals.items()}
        return Gradients(self._plan.layout.views(flat), flat, self._user(x), self._final(states), named)


def _of(arrays: Arrays, end: str) -> Arrays:
    return {name.removesuffix(end): value for name, value in arrays.items() if name.endswith(end)}


def _copied(arrays: Arrays) -> Arrays:
    return {name: np.array(value) for name, value in arrays.items()}
