"""Gates and states of a network over time, a panel for each: units by steps, in colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator

from nblstm.arguments import validate
from nblstm.models import Sequential
from nblstm.plots.networks import as_network, layer_and_input, place
from nblstm.plots.trajectory import OF_UNITS, trajectory
from nblstm.symbolic.emit import OPERATORS, Dialect, Form
from nblstm.symbolic.graph import Value, topological

#: Equations as titles have them.
_TITLES = Dialect({**OPERATORS, **{kind: Form(f"{kind.split()[0]}({{}})") for kind in OF_UNITS}}, "{:g}")

#: Operations and characters of a title; that of GRU's candidate, ``tanh(n_x + sigmoid(r) * n_h)``, has 4 and 29.
_MOST, _LONGEST = 8, 40

#: A panel of the usual width has about so many.
_PIXELS = 600

#: Colours of what is never below 0, of all else, and of steps that are not there.
_FROM_ZERO, _SIGNED, _ABSENT = "viridis", "RdBu_r", "0.85"


def gates(
    network, x, state=None, lengths=None, *, mask=None, signals=None, sequence: int = 0, layer: int | str = 0,
    direction: int = 0, names=None, fig=None,
) -> Figure:  # fmt: skip
    """Draw every gate and state of a recurrent network over time: a panel for each, units by steps.

    A gate is shown as the equations use it, behind its activation: ``sigmoid(f)`` of an LSTM, and
    ``tanh(n_x + sigmoid(r) * n_h)`` of a GRU. A gate whose activation is a state itself, as that of an RNN, or that has
    none, is shown as its pre-activation, ``W x + R h + b``. States are those after each step.

    Parameters
    ----------
    network : network of `nblstm.nn`, recurrent layer of `nblstm.layers`, or Sequential
        Nothing of it is changed; dropout is off, and a stateful one begins with its initial states.
    x : array_like
        Input, in the layout of the network's.
    state : tuple of array_like, optional
        States before the first step, as for calling a network of `nblstm.nn`.
    lengths : array_like of int, shape (B,), optional
        Length of each sequence; what lies beyond is left blank.
    mask : array_like of bool, optional
        False where a step is skipped, in the shape of x without its features; such steps are left blank.
    signals : dict of str to array_like, optional
        What the cell takes with each step, as for calling a network of `nblstm.nn`.
    sequence : int, default 0
        Sequence of the batch.
    layer : int or str, default 0
        Layer of a stack; of a model, which of its recurrent layers, by number or name.
    direction : int, default 0
        1 is the one that reads backwards, of a bidirectional network.
    names : str or sequence of str, optional
        Gates and states to show, in this order, as ``"f c"``; all by default.
    fig : Figure or SubFigure, optional
        Where to draw; without it, in a new figure of pyplot's.

    Returns
    -------
    Figure
        With one Axes for each panel, and one for its colours.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm import nn, plots
    >>> lstm = nn.LSTM(3, 16, seed=0)
    >>> figure = plots.gates(lstm, np.random.default_rng(0).normal(size=(50, 1, 3)))
    >>> [axes.get_title(loc="left") for axes in figure.axes[:6]]
    ['sigmoid(i)', 'sigmoid(f)', 'tanh(g)', 'sigmoid(o)', 'h', 'c']
    """
    if fig is not None:
        validate.of_kind("fig", fig, FigureBase, "a Figure or SubFigure of matplotlib's, or None for a new one")
    if isinstance(network, Sequential):
        if not state is lengths is signals is None:
            raise ValueError("a model takes no state, lengths or signals; give a mask, or one of its layers")
        network, x, mask = layer_and_input(network, x, layer, mask)
        layer = 0
    net = as_network(network)
    layer, direction = place("layer", layer, net.num_layers), place("direction", direction, net._network.D)
    names = validate.names_among("names", names, [*net.cell.gates, *net.cell.states])
    found = trajectory(net, x, state, lengths, mask, signals, layer, direction, sequence)
    T = len(next(iter(found.states.values())))
    fig = pyplot.figure(figsize=(8, 0.6 + 1.25 * len(names)), layout="constrained") if fig is None else fig
    rows = fig.subplots(len(names), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    edges = "nearest" if T < _PIXELS else "auto"  # which averages steps that share a pixel
    new = {value: f"new_{name}" for value, name in found.new.items()}
    for name, axes in zip(names, rows, strict=True):
        value = found.values.get(name)
        shown = (found.gates if name in found.gates else found.states)[name][:, 0].T
        image = axes.imshow(shown, aspect="auto", interpolation=edges, **_colours(value, shown))
        axes.set_title(name if value is None else _title(name, value, new), loc="left", fontsize="medium")
        axes.set_facecolor(_ABSENT)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        fig.colorbar(image, ax=axes, pad=0.01, aspect=8)
    fig.supylabel("unit", fontsize="medium")
    rows[-1].set_xlabel("step")
    return fig


def _title(name: str, value: Value, new: dict[Value, str]) -> str:
    """The equation of a gate in terms of its arguments and of new states, if it is short."""
    order = topological([value], leaves=new)
    if sum(bool(node.operands) and node not in new for node in order) > _MOST:
        return f"activation of {name}"

    def text(node: Value, binding: int = 0) -> str:
        if node in new or node.op == "input":
            return new.get(node, str(node.args[0]))
        inner = _TITLES.expression(node, text)
        return f"({inner})" if node.operands and _TITLES.form(node).binding < binding else inner

    found = text(value)
    return found if len(found) <= _LONGEST else f"activation of {name}"


def _colours(value: Value | None, shown: np.ndarray) -> dict[str, Any]:
    """Colours for the range of a value: 0 to 1 of a sigmoid, -1 to 1 of a tanh, of all else as far as it goes."""
    largest = float(np.max(np.abs(shown), initial=0.0, where=np.isfinite(shown))) or 1.0
    if value is not None and (value.op == "sigmoid" or (value.op == "clip" and _limits(value) == [0.0, 1.0])):
        return {"cmap": _FROM_ZERO, "vmin": 0.0, "vmax": 1.0}
    if value is not None and value.op == "tanh":
        return {"cmap": _SIGNED, "vmin": -1.0, "vmax": 1.0}
    if not (shown < 0).any():
        return {"cmap": _FROM_ZERO, "vmin": 0.0, "vmax": largest}
    return {"cmap": _SIGNED, "vmin": -largest, "vmax": largest}


def _limits(value: Value) -> list[Any]:
    """The limits of a clip, where they are numbers."""
    return [limit.args[0] if limit.op == "constant" else None for limit in value.args[1:]]
