"""Requests of equations that are traced, beside arithmetic: results over all units, products, and noise.

Each is a leaf of the graph, a number that the kernels provide. A `Recorder` notes what it is made of.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from nblstm.symbolic.graph import CellError, Value, as_value

#: What a number of noise is drawn for: each step, sequence and unit, or each sequence and unit.
PER = "step", "sequence"


class Noise(NamedTuple):
    """Random numbers for each unit.

    Attributes
    ----------
    name : str
        Of the leaf.
    kind : {"bernoulli", "normal", "uniform"}
        1 with probability p, else 0; numbers of the normal distribution with mean 0 and deviation 1; or multiples of
        2**-24 from 0 to below 1.
    p : float
        For the first.
    per : {"step", "sequence"}
        Whether each step has numbers of its own, or all steps of a sequence have the same.
    """

    name: str
    kind: str
    p: float
    per: str


def _needs_units(wanted: str) -> CellError:
    return CellError(f"{wanted} is for the equations of a cell, where units stand side by side; use NumPy elsewhere")


@dataclass
class Recorder:
    """Leaves that one run of equations has made.

    Attributes
    ----------
    noisy : bool
        Whether noise is drawn; otherwise its mean is in its place.
    units : bool
        Whether there are other units.
    over_units : dict of (str, Value) to Value
        For a kind of result, sum, mean or maximum, and a number of each unit: the leaf, the same for all units.
    products : dict of str to Value
        For each called gate what its weights multiply.
    noise : list of Noise
    """

    noisy: bool
    units: bool = True
    over_units: dict[tuple[str, Value], Value] = field(default_factory=dict)
    products: dict[str, Value] = field(default_factory=dict)
    noise: list[Noise] = field(default_factory=list)

    def over(self, kind: str, x) -> Value:
        """The leaf for a result over all units.

        Raises
        ------
        CellError
            If there is but one.
        """
        if not self.units:
            raise _needs_units(kind)
        key = kind, as_value(x)
        if key not in self.over_units:
            self.over_units[key] = Value("input", f"{kind}_{len(self.over_units) + 1}")
        return self.over_units[key]

    def random(self, kind: str, p: float, per: str) -> Value | float:
        """The leaf of new random numbers; their mean where no noise is drawn."""
        if not self.noisy:
            return {"bernoulli": p, "normal": 0.0, "uniform": 0.5}[kind]
        self.noise.append(Noise(f"noise_{len(self.noise) + 1}", kind, p, per))
        return Value("input", self.noise[-1].name)


_current: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


def recorder(wanted: str) -> Recorder:
    """The recorder of the cell that is being traced.

    Raises
    ------
    CellError
        If none is: ``wanted`` says who asks.
    """
    found = _current.get()
    if found is None:
        raise _needs_units(wanted)
    return found


def is_recording() -> bool:
    """Say if a cell is being traced."""
    return _current.get() is not None


def is_on_numbers() -> bool:
    """Say if the equations of a cell run on plain numbers."""
    found = _current.get()
    return found is not None and not found.units


@contextmanager
def recording(noisy: bool, units: bool = True):
    """Give the equations that run within a recorder."""
    made = Recorder(noisy, units)
    token = _current.set(made)
    try:
        yield made
    finally:
        _current.reset(token)
