"""The `cell` decorator: from a Python function on scalars to a cell that nblstm can compile."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import FunctionType

from nblstm.cells import pickling
from nblstm.cells.cell_graph import CellGraph, cell_graph, check_unchanged
from nblstm.cells.cuda_source import cuda_source
from nblstm.cells.declaration import check_declaration, check_recurs, initial_values_of, names_of, takes_x
from nblstm.cells.recurrent_matrix import RecurrentMatrix
from nblstm.cells.source import source
from nblstm.symbolic.graph import Value, topological
from nblstm.symbolic.recorder import is_recording, recording
from nblstm.symbolic.unsupported import CellError

#: Kinds of generated source, see `Cell.source`.
SOURCES = (None, "forward", "backward", "rows", "cuda")

#: The gate by which `cells.projected` projects the first state. ``projection_1`` and so on project other operands.
PROJECTION = "projection"


@dataclass(frozen=True, eq=False)
class Cell:
    """A recurrent cell, defined by its equations. Made by the `cell` decorator.

    Attributes
    ----------
    name : str
    gates, states, split, called, vectors, input_only, recurrent_only, scalars, signals : tuple of str
        As given to `cell`.
    output : str
        The state that is the network's output.
    initial : tuple of float
        Value of each state before the first step, unless another is given.
    matrix : RecurrentMatrix or None
        Makes the recurrent weights of what a network has as parameters.
    noisy : bool
        Whether noise is drawn; without, its mean is in its place.
    equations : callable
        The function itself: scalars in, new states out.
    place : tuple of str
        Module and qualified name of the function where it was defined.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    split: tuple[str, ...]
    called: tuple[str, ...]
    vectors: tuple[str, ...]
    output: str
    initial: tuple[float, ...]
    equations: Callable
    place: tuple[str, str]
    __doc__: str | None = None
    input_only: tuple[str, ...] = ()
    recurrent_only: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    takes_x: bool = False
    matrix: RecurrentMatrix | None = None
    noisy: bool = True

    def __call__(self, *scalars):
        """Evaluate the equations once, on plain numbers: the new states, as the function returns them.

        For a gate in ``called``, give a function from its operand to its pre-activation. Noise is its mean.
        """
        if is_recording():
            return self.equations(*scalars)
        with recording(False, units=False):
            return self.equations(*scalars)

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments: gates, a split one as two, then states, ``x``, signals, vectors and scalars."""
        gates = [part for g in self.gates for part in ([f"{g}_x", f"{g}_h"] if g in self.split else [g])]
        return (*gates, *self.states, *self.given, *self.vectors, *self.scalars)

    @cached_property
    def given(self) -> tuple[str, ...]:
        """Arguments that come with each step: ``x`` itself, then the signals."""
        return (*("x",) * self.takes_x, *self.signals)

    @cached_property
    def functions(self) -> tuple[str, ...]:
        """Arguments that arrive as functions of what the recurrent weights multiply."""
        return tuple(f"{g}_h" if g in self.split else g for g in self.called)

    @cached_property
    def input_gates(self) -> tuple[str, ...]:
        """Gates that the input feeds: each has H rows of ``weight_ih``."""
        return tuple(g for g in self.gates if g not in self.recurrent_only)

    @cached_property
    def recurrent_gates(self) -> tuple[str, ...]:
        """Gates that the recurrence feeds: each has H rows of ``weight_hh``."""
        return tuple(g for g in self.gates if g not in self.input_only)

    @cached_property
    def projection(self) -> tuple[str, ...]:
        """Gates of `cells.projected`: the first makes the output alone, others what recurrent weights multiply."""
        able = {*self.recurrent_only} & {*self.called}
        if PROJECTION not in able:
            return ()
        new = self.graph.states
        others = [own for name, own in zip(self.states, new, strict=True) if name not in (self.states[0], self.output)]
        if Value("input", PROJECTION) in {*topological([*others, *(link.operand for link in self.graph.links)])}:
            return ()
        able -= {node.args[0] for node in topological(new) if node.op == "input"}
        return (PROJECTION, *(g for g in self.gates if g in able and g.startswith(f"{PROJECTION}_")))

    @cached_property
    def seeing_gates(self) -> tuple[str, ...]:
        """Gates whose recurrent weights multiply what the first state was before the step, or what is made of it."""
        return tuple(g for g in self.recurrent_gates if g not in self.projection)

    @cached_property
    def taped(self) -> tuple[str, ...]:
        """The states in the order in which BPTT keeps them: the output, then the others."""
        return (self.output, *(state for state in self.states if state != self.output))

    @cached_property
    def preactivations(self) -> tuple[str, ...]:
        """Arguments that come from matrix products, in the order of kernels' memory.

        First those that only the input feeds, then those of input and recurrence, called gates before others, then
        those that only the recurrence feeds: so the columns of each product lie side by side.
        """
        apart = {*self.split, *self.input_only, *self.recurrent_only}
        called = [g for g in self.called if g not in apart]
        shared = [g for g in self.gates if g not in apart and g not in called]
        fed = *(f"{g}_x" for g in self.split), *self.input_only, *called, *shared
        return (*fed, *(f"{g}_h" for g in self.split), *self.recurrent_only)

    @property
    def recurrent_start(self) -> int:
        """The first of `preactivations` that the recurrence feeds."""
        return len(self.split) + len(self.input_only)

    @cached_property
    def starts_at_zero(self) -> bool:
        """True if all states are 0 before the first step, unless something else is given."""
        return not any(self.initial)

    @property
    def without_noise(self) -> Cell:
        """The cell in inference: the same where its equations draw no noise."""
        return self._without_noise if self.graph.noise else self

    @cached_property
    def _without_noise(self) -> Cell:
        return replace(self, noisy=False)

    @cached_property
    def graph(self) -> CellGraph:
        """The traced equations, their gradient and the values worth saving."""
        return cell_graph(self)

    @cached_property
    def uses(self) -> tuple[str, ...]:
        """Parts of the language that the equations use, for what knows gates, states and vectors alone."""
        graph = self.graph
        found = {
            "signals": self.signals, "x itself": self.takes_x, "scalars": self.scalars,
            "gates without an input": self.recurrent_only, "gates without a recurrence": self.input_only,
            "a called half of a split gate": [g for g in self.called if g in self.split],
            "called gates": self.called, "several operands": graph.operands[1:],
            "a called gate of the first state itself": [
                name for link in graph.links if not link.name for name in link.targets if name in self.functions
            ],
            "an operand of gates that are called": [
                value for value in graph.operands if {node.args[0] for node in topological([value])} & {*self.functions}
            ],
            "sums over units": [link for link in graph.links if link.kind != "product"], "noise": graph.noise,
            "a recurrent matrix of its own": self.matrix is not None,
        }  # fmt: skip
        return tuple(part for part, used in found.items() if used)

    def with_matrix(self, matrix: RecurrentMatrix | None) -> Cell:
        """The same equations with recurrent weights made by a matrix, such as `cells.dropconnect`."""
        if matrix is not None and not isinstance(matrix, RecurrentMatrix):
            raise CellError(f"with_matrix got {matrix!r}; give one of nblstm.cells, such as antisymmetric(0.01)")
        if matrix is not None:
            check_recurs("matrix", self, self.recurrent_gates)
        return replace(self, matrix=matrix)

    def check_known(self, where: str, known: Collection[str]) -> None:
        """Raise ValueError if the equations use a part of the language that ``where`` does not know."""
        for part in self.uses:
            if part not in known:
                raise ValueError(
                    f"the cell {self.name!r} has {part}, which {where} can't do; use the network on the CPU"
                )

    def check(self) -> None:
        """Raise CellError if the equations cannot be traced, or have changed since they were."""
        if not self._never_changes:
            check_unchanged(self)

    @cached_property
    def _never_changes(self) -> bool:
        """True if the equations and the functions in their closure are nblstm's own."""
        equations = self.equations
        return _is_nblstms(equations) and all(_is_nblstms(held.cell_contents) for held in equations.__closure__ or ())

    def source(self, kind: str | None = None, dtype: str = "float32") -> str:
        """The code that is generated from this cell, as Python source.

        Parameters
        ----------
        kind : {"forward", "backward", "rows", "cuda"}, optional
            The scalar functions of a step or of its gradient; both if not given. ``"rows"`` are the CPU kernels, which
            apply them to rows of a batch in training; ``"cuda"`` is what CUDA kernels call, or are.
        dtype : {"float32", "float64"}

        Returns
        -------
        str

        Raises
        ------
        ValueError
            If an argument is something else.
        """
        if kind not in SOURCES:
            raise ValueError(f"kind is {kind!r}; give 'forward', 'backward', 'rows', 'cuda', or None for the first two")
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype is {dtype!r}; nblstm computes in float32 or float64, so give one of these")
        return cuda_source(self, dtype) if kind == "cuda" else source(self, kind, dtype)

    def __repr__(self):
        matrix = "" if self.matrix is None else f", matrix {self.matrix!r}"
        return f"<cell {self.name}: gates {' '.join(self.gates)}, states {' '.join(self.states)}{matrix}>"

    def __copy__(self) -> Cell:
        return self

    def __deepcopy__(self, memo) -> Cell:
        return self

    def __reduce__(self):
        """By the name of the variable that holds this cell, if any process can import it; else by its equations."""
        return pickling.reduce(self)


def _is_nblstms(function) -> bool:
    return isinstance(function, FunctionType) and (function.__module__ or "").partition(".")[0] == "nblstm"


def cell(
    *, gates: str, states: str, split: str = "", called: str = "", input_only: str = "", recurrent_only: str = "",
    vectors: str = "", scalars: str = "", signals: str = "", output: str | None = None,
    initial: Mapping[str, float] | None = None, matrix: RecurrentMatrix | None = None,
) -> Callable[[Callable], Cell]:  # fmt: skip
    """Declare a recurrent cell by its equations.

    The decorated function takes scalars: one pre-activation per gate (``W x_t + R h_{t-1} + b``, already summed),
    then the previous states, the signals, the vectors and the scalars. It returns the new states in order; the first
    recurs through ``R``. It runs on symbols, a few times: its gradient is derived, and both become compiled kernels. So
    what it reads from elsewhere, such as a variable, counts as it was then, and has to be the same each time.

    An argument named ``x``, behind the states, is the unit's own feature of the input, where I = H.

    Parameters
    ----------
    gates : str
        Names of the gates, separated by spaces: a network has one block of ``H`` rows per gate.
    states : str
        Names of the states.
    split : str, optional
        Gates that arrive as two arguments, ``n_x = W x_t + b_ih`` and ``n_h = R h_{t-1} + b_hh``.
    called : str, optional
        Gates whose recurrent product is of something that the equations compute. Such a gate, or the half ``n_h`` of a
        split one, arrives as a function of what ``R`` multiplies: ``n(r * h)`` is ``W_n x_t + R_n (r * h) + b``. Gates
        may have different operands, and an operand may depend on other called gates.
    input_only, recurrent_only : str, optional
        Gates without a recurrent product, ``W x_t + b_ih``, and without an input, ``R h_{t-1} + b_hh``.
    vectors, scalars : str, optional
        Names of learned parameters: with one value per unit, and with one in all.
    signals : str, optional
        Names of numbers that each step is given beside x, such as a time gap or a flag.
    output : str, optional
        The state that is the network's output; the first if not given.
    initial : dict of str to float, optional
        Values of states before the first step, where a network is given none; 0 if not given.
    matrix : RecurrentMatrix, optional
        Makes the recurrent weights of the parameters, such as `cells.antisymmetric`.

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
    >>> @cell(gates="r n", states="h", called="n")
    ... def gated(r, n, h):
    ...     return tanh(n(sigmoid(r) * h))
    """

    def decorate(equations: Callable) -> Cell:
        if not inspect.isfunction(equations):
            raise CellError(f"cell() decorates {equations!r}; put it above a function of scalars, its equations")
        name = equations.__name__
        if not name.isprintable():
            raise CellError(f"cell {name!r} has a name that cannot be printed; give the function another __name__")
        for kind in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
            if kind(equations):
                raise CellError(f"cell {name!r} is written with async or yield; write a plain function that returns")
        named_states = names_of(name, "states", states)
        made = Cell(
            name,
            names_of(name, "gates", gates),
            named_states,
            names_of(name, "split", split),
            names_of(name, "called", called),
            names_of(name, "vectors", vectors),
            next(iter(named_states), "") if output is None else output,
            initial_values_of(name, named_states, initial),
            equations,
            (equations.__module__, equations.__qualname__),
            equations.__doc__,
            names_of(name, "input_only", input_only),
            names_of(name, "recurrent_only", recurrent_only),
            names_of(name, "scalars", scalars),
            names_of(name, "signals", signals),
            takes_x(equations, (gates, states, vectors, scalars, signals)),
            matrix,
        )
        check_declaration(made)
        return made

    return decorate
