"""The `cell` decorator: from a Python function on scalars to a cell that nblstm can compile."""

from __future__ import annotations

import inspect
import keyword
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from importlib import import_module
from operator import attrgetter

from nblstm.cells.graph import CellError
from nblstm.cells.numeric import NUMERIC
from nblstm.cells.trace import Graph, trace


@dataclass(frozen=True, eq=False)
class Cell:
    """A recurrent cell, defined by its equations. Made by the `cell` decorator.

    Attributes
    ----------
    name : str
    gates, states, split, second, vectors : tuple of str
        As given to `cell`.
    output : str
        The state that is the network's output.
    equations : callable
        The function itself: scalars in, new states out.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    split: tuple[str, ...]
    second: tuple[str, ...]
    vectors: tuple[str, ...]
    output: str
    equations: Callable
    __doc__: str | None = None

    def __call__(self, *scalars):
        """Evaluate the equations once, on plain numbers: the new states, as the function returns them.

        For a second gate, give a function from its operand to its pre-activation.
        """
        return self.equations(*scalars)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments: a split gate arrives as two, then the states, then the vectors."""
        gates = [part for g in self.gates for part in ([f"{g}_x", f"{g}_h"] if g in self.split else [g])]
        return (*gates, *self.states, *self.vectors)

    @property
    def first_arguments(self) -> tuple[str, ...]:
        """The arguments that there are before the second product."""
        return tuple(name for name in self.arguments if name not in self.second)

    @cached_property
    def taped(self) -> tuple[str, ...]:
        """The states in the order in which BPTT keeps them: the output, then the others."""
        return (self.output, *(state for state in self.states if state != self.output))

    @cached_property
    def preactivations(self) -> tuple[str, ...]:
        """The arguments that come from matrix products, in the order that kernels keep them in memory.

        First what only the input feeds, then what input and recurrence feed, second gates before others, then what
        only the recurrence feeds: so the columns of each product lie side by side.
        """
        shared = [g for g in self.gates if g not in (*self.split, *self.second)]
        return (*(f"{g}_x" for g in self.split), *self.second, *shared, *(f"{g}_h" for g in self.split))

    @property
    def stages(self) -> int:
        """Recurrent products in a step: 2 where there are second gates, else 1."""
        return 2 if self.second else 1

    @cached_property
    def graph(self) -> Graph:
        """The traced equations, their gradient and the values worth saving."""
        return trace(self)

    def source(self, dtype: str = "float32") -> str:
        """The generated code of this cell, as Python source.

        Parameters
        ----------
        dtype : {"float32", "float64"}

        Returns
        -------
        str
        """
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype is {dtype!r}; nblstm computes in float32 or float64, so give one of these")
        from nblstm.codegen.emit import emit  # cells import nothing from above; this is a window, not a beam

        return emit(self, dtype)

    def __repr__(self):
        return f"<cell {self.name}: gates {' '.join(self.gates)}, states {' '.join(self.states)}>"

    def __copy__(self) -> Cell:
        return self

    def __deepcopy__(self, memo) -> Cell:
        return self

    def __reduce__(self):
        """By the name of the module's variable that holds this cell, else by its factory, else by its equations."""
        place = self.equations.__module__, self.equations.__qualname__
        if _found(*place) is self:
            return _found, place
        fields = (self.name, self.gates, self.states, self.split, self.second, self.vectors, self.output)
        return vars(self).get("_made_by") or (Cell, (*fields, self.equations, self.__doc__))


def _found(module: str, name: str):
    """What a module, or a class in it, has under a name; None if there is none."""
    try:
        return attrgetter(name)(sys.modules.get(module) or import_module(module))
    except (AttributeError, ImportError):
        return None


def factory(make: Callable[..., Cell]) -> Callable[..., Cell]:
    """`functools.cache` for a function that makes cells, which remember how they were made: so they can be pickled."""

    @wraps(make)
    def remembered(*arguments) -> Cell:
        made = make(*arguments)
        vars(made)["_made_by"] = cached, arguments
        return made

    cached = cache(remembered)
    return cached


def _names(cell_name: str, kind: str, names: str) -> tuple[str, ...]:
    if not isinstance(names, str):
        raise CellError(f"cell {cell_name!r} has {kind} {names!r}; write the names in one string, as {kind}='a b'")
    parts = tuple(names.split())
    bad = [name for name in parts if not name.isidentifier() or keyword.iskeyword(name)]
    if bad:
        raise CellError(f"cell {cell_name!r} has {kind} named {bad[0]!r}; use Python identifiers")
    return parts


def cell(
    *, gates: str, states: str, split: str = "", second: str = "", vectors: str = "", output: str | None = None
) -> Callable[[Callable], Cell]:
    """Declare a recurrent cell by its equations.

    The decorated function takes scalars: one pre-activation per gate (``W x_t + R h_{t-1} + b``, already summed),
    then the previous states, then the vectors. It returns the new states in order; the first recurs through
    ``R``. It runs once, on symbols: its gradient is derived, and both become compiled kernels.

    Parameters
    ----------
    gates : str
        Names of the gates, separated by spaces: a network has one block of ``H`` rows per gate.
    states : str
        Names of the states.
    split : str, optional
        Gates that arrive as two arguments, ``n_x = W x_t + b_ih`` and ``n_h = R h_{t-1} + b_hh``.
    second : str, optional
        Gates whose recurrent product comes second, of something that the others decide. Such a gate arrives as a
        function of what ``R`` multiplies, one operand for all: ``n(r * h)`` is ``W_n x_t + R_n (r * h) + b``.
    vectors : str, optional
        Names of learned parameters with one value per unit.
    output : str, optional
        The state that is the network's output; the first if not given.

    Returns
    -------
    callable
        A decorator that turns the function into a `Cell`.

    Raises
    ------
    CellError
        If names or arguments do not fit together. What the equations do is checked when they are traced.

    Examples
    --------
    >>> from nblstm import cell, sigmoid, tanh
    >>> @cell(gates="f g", states="h")
    ... def minimal(f, g, h):
    ...     f = sigmoid(f)
    ...     return f * h + (1 - f) * tanh(g)
    >>> @cell(gates="r n", states="h", second="n")
    ... def gated(r, n, h):
    ...     return tanh(n(sigmoid(r) * h))
    """

    def decorate(equations: Callable) -> Cell:
        if not inspect.isfunction(equations):
            raise CellError(f"cell() decorates {equations!r}; put it above a function of scalars, its equations")
        name = equations.__name__
        named_states = _names(name, "states", states)
        made = Cell(
            name,
            _names(name, "gates", gates),
            named_states,
            _names(name, "split", split),
            _names(name, "second", second),
            _names(name, "vectors", vectors),
            next(iter(named_states), "") if output is None else output,
            equations,
            equations.__doc__,
        )
        _check_declaration(made)
        return made

    return decorate


def _check_declaration(made: Cell) -> None:
    if not made.gates or not made.states:
        raise CellError(f"cell {made.name!r} needs at least one gate and one state")
    for kind, names in (("splits", made.split), ("takes as second gate", made.second)):
        unknown = [g for g in names if g not in made.gates]
        if unknown:
            raise CellError(f"cell {made.name!r} {kind} {unknown[0]!r}, which is not one of its gates {made.gates}")
    both = [g for g in made.split if g in made.second]
    if both:
        raise CellError(
            f"cell {made.name!r} splits its second gate {both[0]!r}, whose product the equations place themselves; "
            "leave it out of split"
        )
    if made.output not in made.states:
        raise CellError(
            f"cell {made.name!r} has the output {made.output!r}; name one of its states, {' '.join(made.states)}"
        )
    expected = made.arguments
    if len(set(expected)) != len(expected):
        raise CellError(f"cell {made.name!r} uses a name twice among {' '.join(expected)}; give each its own")
    # Names that generated code gives to functions and to values of its own.
    taken = {*NUMERIC, "real", *(f"d{state}" for state in made.states)}
    taken |= {"operand", "doperand"} if made.second else set()
    reserved = [name for name in expected if name in taken or re.fullmatch(r"v\d+|(saved|new)_.*", name)]
    if reserved:
        raise CellError(f"cell {made.name!r} uses the name {reserved[0]!r}, which generated code needs; choose another")
    given = tuple(inspect.signature(made.equations).parameters)
    if len(given) != len(expected):
        raise CellError(
            f"cell {made.name!r} takes {len(given)} arguments ({' '.join(given)}), but its gates, states and "
            f"vectors make {len(expected)}: {' '.join(expected)}"
        )
    if given != expected and set(given) == set(expected):
        raise CellError(
            f"cell {made.name!r} takes its arguments as {' '.join(given)}; the order is {' '.join(expected)}"
        )
