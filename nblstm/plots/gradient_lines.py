"""Norms of the gradients with respect to each step's states, as lines over time: they vanish, explode, or last."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from nblstm.arguments import validate
from nblstm.engine import engine
from nblstm.engine.inputs import steps_and_sequences
from nblstm.models import Sequential
from nblstm.plots.networks import as_network, layer_and_input, place

#: Of the first state, the second, and so on.
_STYLES = "-", "--", ":", "-."


def gradient_flow(
    network, x, dy, state=None, lengths=None, *, mask=None, signals=None, dstate=None, sequence: int | None = None,
    layer: int | str | None = None, names=None, label: str | None = None, ax=None,
) -> Axes:  # fmt: skip
    """Draw the norm of dL/dh_t over the steps t, and that of every other state, on a logarithmic scale.

    A line that falls from right to left vanishes on the way back through time, one that rises explodes. The gradient is
    the whole one: what comes from later steps and from ``dy`` of its own step. There is a line for each state, layer
    and direction; states differ in how they are dashed, layers and directions in their colours.

    Parameters
    ----------
    network : network of `nblstm.nn`, recurrent layer of `nblstm.layers`, or Sequential
        Nothing of it is changed; dropout is off, and a stateful one begins with its initial states.
    x : array_like
        Input, in the layout of the network's.
    dy : array_like or None
        Gradient of the loss L with respect to the outputs of all steps, of a model those of the layer that is drawn;
        None for zeros. For one that comes from the last output alone, zeros but for the last step.
    state, lengths, mask, signals
        As for calling a network of `nblstm.nn`.
    dstate : tuple of array_like, optional
        Gradient with respect to the final states.
    sequence : int, optional
        Sequence of the batch; without it, norms are of all sequences together.
    layer : int or str, optional
        The layer of a stack, all by default; of a model, which of its recurrent layers, by number or name, by default
        the first.
    names : str or sequence of str, optional
        States to show, as ``"h c"``; all by default.
    label : str, optional
        Precedes the names in the legend, to tell networks apart.
    ax : Axes, optional
        Where to draw, as beside the lines of another network; without it, in a new figure of pyplot's.

    Returns
    -------
    Axes
        Norms that are 0, as beyond a sequence's length, leave a gap.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm import nn, plots
    >>> rnn, lstm = nn.RNN(3, 16, seed=0), nn.LSTM(3, 16, seed=0)
    >>> x, dy = np.random.default_rng(0).normal(size=(100, 8, 3)), np.zeros((100, 8, 16))
    >>> dy[-1] = 1
    >>> axes = plots.gradient_flow(rnn, x, dy, label="RNN")
    >>> axes = plots.gradient_flow(lstm, x, dy, label="LSTM", ax=axes)
    """
    if ax is not None:
        validate.of_kind("ax", ax, Axes, validate.AXES)
    if isinstance(network, Sequential):
        if not state is lengths is signals is None:
            raise ValueError("a model takes no state, lengths or signals; give a mask, or one of its layers")
        network, x, mask = layer_and_input(network, x, 0 if layer is None else layer, mask)
        layer = None
    net = as_network(network)
    shown = range(net.num_layers) if layer is None else [place("layer", layer, net.num_layers)]
    known = net.cell.states
    names = validate.names_among("names", names, known)
    norms = _norms(net, x, dy, state, lengths, mask, signals, dstate)
    if sequence is not None:
        sequence = place("sequence", sequence, next(iter(norms.values())).shape[-1])
    if ax is None:
        ax = pyplot.figure(layout="constrained").add_subplot()
    D = net._network.D
    for row in (D * k + d for k in shown for d in range(D)):
        colour = None
        where = [f"layer {row // D}"] * (net.num_layers > 1) + ["reverse" if row % D else "forward"] * (D > 1)
        for name in names:
            lines = norms[name][row]
            values = _norm(lines) if sequence is None else lines[:, sequence]
            text = ", ".join([f"dL/d{name}", *where])
            [line] = ax.plot(
                np.where(values > 0, values, np.nan), _STYLES[known.index(name) % len(_STYLES)], color=colour,
                label=f"{label}: {text}" if label else text,
            )  # fmt: skip
            colour = line.get_color()
    ax.set_yscale("log")
    ax.set(xlabel="step", ylabel="norm of the gradient")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)
    return ax


def _norms(net, x, dy, state, lengths, mask, signals, dstate) -> dict[str, np.ndarray]:
    """Norms over the units, float64 (num_layers D, T, B), of each state's gradients.

    The engine's forward pass draws no dropout, and leaves the states alone that a stateful network carries on.
    """
    y, _, tape = engine.forward(net, x, net._to_tuple(state), lengths, mask, signals=signals)
    T, B = steps_and_sequences(net._network, y.shape)
    if not T * B:
        raise ValueError(f"x has {T} steps of {B} sequences; give one of each at least")
    steps = net.backward(tape, dy, dstate, steps=True).steps
    steps = steps if isinstance(steps, tuple) else (steps,)  # of a network whose only state is given bare
    on_host = net._network.backend.arrays.on_host
    return {name: on_host(norm).astype(np.float64) for name, norm in zip(net.cell.states, steps, strict=True)}


def _norm(rows: np.ndarray) -> np.ndarray:
    """Euclidean norm of each row, of 1e-300 too, whose square is 0."""
    scale = rows.max(axis=-1, keepdims=True, initial=0.0)
    scale[scale == 0] = 1.0
    return scale[:, 0] * np.linalg.norm(rows / scale, axis=-1)
