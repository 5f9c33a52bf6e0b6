"""Derivatives of a `Stack`, as its methods: those of its layers, from the last to the first, with the sums between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.engine.asked import clips
from nblstm.engine.inputs import output_gradient
from nblstm.engine.tape import Gradients, Tape
from nblstm.nn.derivatives import check_loss, of_loss
from nblstm.nn.direction import Direction, checked_direction, checked_names
from nblstm.nn.dual_run import DualRun

if TYPE_CHECKING:
    from nblstm.nn.stack import Stack


class StackTape:
    """The tapes of a stack's layers, for its `backward`, any number of times.

    Attributes
    ----------
    stack : Stack
    tapes : list of Tape
    factors : list of array or None
        Of dropout on the input of each layer.
    """

    def __init__(self, stack: Stack, tapes: list[Tape], factors: list[Any]):
        self.stack, self.tapes, self.factors = stack, tapes, factors

    def __reduce__(self):
        raise TypeError("a tape cannot be copied or pickled, as it belongs to one network; run its forward() again")


def backward(
    self: Stack, tape: StackTape, dy, dstate=None, *, dstates=None, clip=None, truncate: int | None = None,
    steps: bool = False,
) -> Gradients:  # fmt: skip
    """Backpropagation through time, through all layers.

    Parameters
    ----------
    tape : StackTape
        From `forward`.
    dy : array_like or None
        Gradient of the loss with respect to the outputs, in their shape; None for zeros.
    dstate : tuple, optional
        For each layer the gradient with respect to its final states, or None.
    dstates : tuple of array_like, optional
        Gradient with respect to what ``all_states`` gives; None for zeros. That of the outputs is added to ``dy``.
    clip : float, (str, float), array_like or dict, optional
        As for a `Recurrent`, of all layers; or a tuple with that of each layer, or None.
    truncate, steps
        As for a `Recurrent`.

    Returns
    -------
    Gradients
        ``params`` (by name), ``flat``, ``x``, ``state`` and ``steps`` (tuples with those of each layer) and
        ``signals`` (those of layer 0 as ``"0.dt"``).

    Raises
    ------
    TypeError, ValueError
        If a shape or dtype does not fit, or the tape is another network's.
    """
    _check_tape(self, tape)
    by_layer = isinstance(clip, tuple) and not (clip and isinstance(clip[0], str))
    limits = self._by_layer(clip, "clip") if by_layer else [clip] * len(self.layers)
    for layer, own in zip(self.layers, limits, strict=True):
        clips(own, layer._network.cell.states, layer.hidden_size, layer._network.numpy_dtype)
    if dstates is not None and self._adds[-1]:  # the gradient of the outputs is that of the sum's other part too
        dy, dstates = _with_outputs(self, tape, dy, dstates)

    def run(k: int, dy, d_final) -> Gradients:
        every = dstates if k == len(self.layers) - 1 else None
        return self.layers[k].backward(
            tape.tapes[k], dy, d_final, dstates=every, clip=limits[k], truncate=truncate, steps=steps
        )

    return _through(self, tape, dy, dstate, run)


def per_sample_gradients(self: Stack, tape: StackTape, dy, dstate=None) -> Gradients:
    """Backpropagation through time, with the gradients of the parameters for each sequence.

    Parameters
    ----------
    tape, dy, dstate
        As for `backward`.

    Returns
    -------
    Gradients
        As from `backward`, but ``params`` are (B, ...) each, views of ``flat``, (B, number of parameters).

    Raises
    ------
    TypeError, ValueError
        As from `backward`.
    """
    _check_tape(self, tape)
    return _through(
        self, tape, dy, dstate, lambda k, dy, d_final: self.layers[k].per_sample_gradients(tape.tapes[k], dy, d_final)
    )


def jvp(
    self: Stack, x, direction: Direction, state=None, lengths=None, *, mask=None, resets=None, signals=None
) -> tuple[tuple[Any, tuple], tuple[Any, tuple]]:  # fmt: skip
    """Differentiate outputs in a direction: a Jacobian-vector product, by forward mode; see `Recurrent.jvp`.

    Parameters
    ----------
    x, state, lengths, mask, resets, signals
        As for calling the stack.
    direction : Direction
        ``params`` by the stack's names; ``state`` and ``signals`` are tuples with those of each layer, or None.

    Returns
    -------
    (y, states), (d_y, d_states)
        Outputs and final states as from calling the stack, and their derivatives in the same shapes.

    Raises
    ------
    TypeError, ValueError
        If something is of another shape than what it belongs to, or a layer is on a GPU.
    """
    runs, y, d_y = _dual_runs(self, x, direction, state, lengths, mask, resets, signals)
    pairs = list(zip(self.layers, runs, strict=True))
    return (
        (y, tuple(layer._from_tuple(run.states) for layer, run in pairs)),
        (d_y, tuple(layer._from_tuple(run.d_states) for layer, run in pairs)),
    )


def hvp(
    self: Stack, x, direction: Direction, loss_gradient: Callable[..., tuple[Any, Any]], state=None, lengths=None,
    *, mask=None, resets=None, signals=None,
) -> tuple[Gradients, Gradients]:  # fmt: skip
    """Differentiate the gradient of a loss in a direction: a Hessian-vector product; see `Recurrent.hvp`.

    Parameters
    ----------
    x, direction, state, lengths, mask, resets, signals
        As for `jvp`.
    loss_gradient : callable
        As for a `Recurrent`.

    Returns
    -------
    gradients, products : Gradients
        The gradient, and its derivative in the direction; each as from `backward`.

    Raises
    ------
    TypeError, ValueError
        As from `jvp`.
    """
    check_loss(loss_gradient)
    runs, y, d_y = _dual_runs(self, x, direction, state, lengths, mask, resets, signals)
    d, d_moved = of_loss(loss_gradient, y, d_y)
    found: list[tuple[Gradients, Gradients]] = []
    for layer, run, adds in reversed(list(zip(self.layers, runs, self._adds, strict=True))):
        both = run.gradients(d_moved, d)
        for own in both:
            own.state = layer._from_tuple(own.state)
        found.append(both)
        d, d_moved = (
            own.x if above is None or not adds else own.x + np.asarray(above, self.dtype)
            for own, above in zip(both, (d, d_moved), strict=True)
        )
    gradients, products = zip(*reversed(found), strict=True)
    return _joined(self, list(gradients), d), _joined(self, list(products), d_moved)


def _check_tape(stack: Stack, tape) -> None:
    if not isinstance(tape, StackTape) or tape.stack is not stack:
        raise ValueError("tape is not from this stack's forward(); pass the third of its results")


def _through(
    stack: Stack, tape: StackTape, dy, dstate, run: Callable[[int, Any, Any], Gradients]
) -> Gradients:  # fmt: skip
    """Gradients of ``run(k, dy, gradient of the final states)``, layer by layer, from the last."""
    given, found = stack._by_layer(dstate, "dstate"), []
    if dy is not None and stack.layers[-1]._network.backend.arrays.kind(dy) is None:
        dy = validate.real_array("dy", dy, stack.dtype)
    for k in reversed(range(len(stack.layers))):
        own = run(k, dy, given[k])
        found.append(own)
        dx = own.x if tape.factors[k] is None else own.x * tape.factors[k]
        dy = dx + dy if stack._adds[k] and dy is not None else dx
    return _joined(stack, found[::-1], dy)


def _joined(stack: Stack, found: list[Gradients], dx) -> Gradients:
    """The gradients of a stack from those of its layers."""
    arrays, layout = stack.layers[0]._network.backend.arrays, stack._layout
    flat = np.concatenate([arrays.on_host(own.flat) for own in found], axis=-1)
    states, steps = (tuple(getattr(own, name) for own in found) for name in ("state", "steps"))
    named = {f"{k}.{name}": value for k, own in enumerate(found) for name, value in own.signals.items()}
    views = layout.views if flat.ndim == 1 else layout.views_by_sequence
    return Gradients(views(flat), flat, dx, states, named, steps if any(steps) else ())


def _with_outputs(stack: Stack, tape: StackTape, dy, dstates) -> tuple[Any, Any]:
    """``dy`` with the gradient of the outputs among ``dstates`` added, and the others."""
    network, made = stack.layers[-1]._network, tape.tapes[-1].made
    states, place = network.cell.states, network.cell.states.index(network.cell.output)
    fits = isinstance(dstates, tuple | list) and len(dstates) == len(states) and network.on_host
    if not fits or dstates[place] is None:
        return dy, dstates  # of what does not fit the layer says so
    own = output_gradient(
        network, dstates[place], made.batch, made.batched, f"dstates {states[place]!r}", network.output_size
    )
    if dy is not None:
        own = own + output_gradient(network, dy, made.batch, made.batched)
    return own, tuple(None if k == place else each for k, each in enumerate(dstates))


def _dual_runs(
    stack: Stack, x, direction: Direction, state, lengths, mask, resets, signals
) -> tuple[list[DualRun], np.ndarray, np.ndarray]:
    """The run of each layer with its tangent, the outputs and their tangents."""
    given, states = stack._by_layer(signals, "signals"), stack._by_layer(state, "state")
    runs: list[DualRun] = []
    d_x = checked_direction(direction).x
    for layer, own, adds, begin, extra in zip(
        stack.layers, _by_layer(stack, direction), stack._adds, states, given, strict=True
    ):
        run = DualRun(layer, x, own._replace(x=d_x), layer._start(x, begin), lengths, mask, resets, extra)
        x, d_x = (run.y + x, run.d_y + d_x) if adds else (run.y, run.d_y)
        runs.append(run)
    return runs, x, d_x


def _by_layer(stack: Stack, direction: Direction) -> list[Direction]:
    """The direction of each layer, but for x."""
    shapes = stack._layout.shapes
    params: list[dict[str, Any]] = [{} for _ in stack.layers]
    for name, value in checked_names("direction.params", direction.params, shapes).items():
        label, (k, _, own) = f"direction.params[{name!r}]", name.partition(".")
        array = validate.real_array(label, value, stack.dtype)
        params[int(k)][own] = validate.shaped(label, array, shapes[name], "that of what it belongs to")
    states = stack._by_layer(direction.state, "direction.state")
    signals = stack._by_layer(direction.signals, "direction.signals")
    return [Direction(*own) for own in zip(params, [None] * len(params), states, signals, strict=True)]
