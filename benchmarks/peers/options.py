"""What options of a network cost: an LSTM with each, beside the plain LSTM in the same process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.peers.tables import Entrant, Medians, Row, Table
from benchmarks.peers.work import Data, Work
from benchmarks.shapes import Shape

#: A batch, and one row in a stream.
BATCH, STREAM = Shape("", 100, 32, 128, 128), Shape("", 1, 1, 128, 128)


@dataclass(frozen=True)
class Option:
    """How a network gets an option.

    Attributes
    ----------
    cell : callable
        From `nblstm.cells` to the cell.
    network : dict
        Arguments of the network.
    call, backward : callable
        From the numbers of the work to arguments of a call and of `backward`.
    starts : bool
        Whether a call is given the states that the plain network begins with.
    streams : bool
        Whether a stepper can have the option.
    """

    cell: Callable[[ModuleType], Any] = lambda cells: cells.lstm
    network: dict[str, Any] = field(default_factory=dict)
    call: Callable[[Data], dict[str, Any]] = lambda numbers: {}
    backward: Callable[[Data], dict[str, Any]] = lambda numbers: {}
    starts: bool = True
    streams: bool = True


def _flags(probability: float, numbers: Data) -> np.ndarray:
    """True with a probability, at each step of each sequence."""
    return np.random.default_rng(0).random(numbers.x.shape[:2]) < probability


def _each_state(numbers: Data) -> tuple[np.ndarray, ...]:
    """Gradients of both states at each step."""
    return tuple(np.random.default_rng(k).standard_normal(numbers.dy.shape, np.float32) for k in range(2))


#: By name. An option with equations of its own is a cell; others are arguments of the network or of a call.
OPTIONS = {
    "zoneout": Option(cell=lambda cells: cells.zoneout(cells.lstm, 0.1, 0.1)),
    "layer_norm": Option(cell=lambda cells: cells.layer_norm_lstm, network={"bias": False}),
    "resets": Option(call=lambda numbers: {"resets": _flags(0.1, numbers)}, streams=False),
    "mask": Option(call=lambda numbers: {"mask": _flags(0.9, numbers)}, streams=False),
    "all_states": Option(
        call=lambda numbers: {"all_states": True}, backward=lambda numbers: {"dstates": _each_state(numbers)},
        streams=False,
    ),
    "clip": Option(backward=lambda numbers: {"clip": 1.0}, streams=False),
    "clip_norm": Option(backward=lambda numbers: {"clip": ("norm", 1.0)}, streams=False),
    "steps": Option(backward=lambda numbers: {"steps": True}, streams=False),
    "clipped": Option(cell=lambda cells: cells.clipped(cells.lstm, {"c": 3.0}, preactivation=10.0)),
    "recurrent_dropout": Option(network={"recurrent_dropout": 0.1}),
    "learn_initial_state": Option(network={"learn_initial_state": True}, starts=False),
}  # fmt: skip


def network_with(name: str, work: Work) -> Any:
    """The network of a work with an option."""
    from nblstm import cells, nn

    option = OPTIONS[name]
    return nn.Recurrent(option.cell(cells), work.I, work.H, seed=0, **option.network)


def options(shapes, cells) -> list[Table]:
    """A table for a batch and one for a stream; ratios to the plain network."""

    def ratio(method: str, row: Row, medians: Medians) -> float:
        return medians[f"with it, {method}"] / medians[f"plain, {method}"]

    def row(name: str, shape: Shape, methods) -> Row:
        plain = Work.of(shape)
        works = {"plain": plain, "with it": replace(plain, option=name)}
        entrants = [Entrant(f"{label}, {m}", "nblstm", work, m) for m in methods for label, work in works.items()]
        return Row(shape._replace(name=name), entrants)

    def table(title: str, shape: Shape, methods, names) -> Table:
        note = "An LSTM with the option, and the plain one; ratios of the one to the other."
        named = dict.fromkeys(names, shape)
        rows = [row(name, shape, methods) for name, shape in named.items() if shapes({name: shape})]
        return Table("options", title, note, rows, {f"{method}: ratio": partial(ratio, method) for method in methods})

    streaming = [name for name, option in OPTIONS.items() if option.streams]
    return [
        table("Costs of options, a batch", BATCH, ("inference", "training"), OPTIONS),
        table("Costs of options, one row in a stream", STREAM, ("step",), streaming),
    ]
