"""Steps of a graph, and how they run on a list of values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from nblstm.files.content import FAULTS
from nblstm.onnx.reading import reason


class Step(NamedTuple):
    """A node as it runs: ``values[outputs] = function(*inputs(values))``.

    Attributes
    ----------
    function : callable
    inputs : itemgetter or int
        Takes the arguments out of all values; of one argument its place.
    outputs : int or tuple of int
        Places of what it returns; a tuple if it returns one.
    last : tuple of int
        Places that no later step reads.
    label : str
        For errors.
    """

    function: Callable
    inputs: Any
    outputs: Any
    last: tuple[int, ...]
    label: str


def run(steps: Iterable[Step], values: list[Any]) -> None:
    """Run steps in order.

    Raises
    ------
    ValueError
        If a node cannot compute with its values, which it says with the node's name.
    """
    label = ""
    try:
        for function, inputs, outputs, last, label in steps:  # noqa: B007
            result = function(values[inputs]) if type(inputs) is int else function(*inputs(values))
            if type(outputs) is int:
                values[outputs] = result
            else:
                for place, part in zip(outputs, result):  # noqa: B905  # some outputs may be left out
                    values[place] = part
            for place in last:
                values[place] = None
    except FAULTS as error:
        raise ValueError(f"{label} cannot compute: {reason(error)}") from error
