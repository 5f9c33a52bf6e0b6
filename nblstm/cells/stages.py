"""A step of a cell as a program: stages of work on single units, with links between them that join all units.

Forward, a stage begins with the links whose operands the stages before have computed: products ``z += R operand``, sums
over units. Then a function of scalars computes what the next links need, in the last stage the new states. Backward it
is the same from the other end: the gradient of a gate, then the product with R transposed, which gives the gradient of
the operand.

What passes from stage to stage lies in blocks of H numbers of a row of the workspace. An `exp` is not computed twice: a
later stage finds what depends on it in a block (``kept_1``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from nblstm.symbolic.emit import meaning, unused
from nblstm.symbolic.graph import Value, topological
from nblstm.symbolic.saved import EXPENSIVE, values_to_save

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell


class Step(NamedTuple):
    """A link as a kernel does it.

    Attributes
    ----------
    kind : {"product", "sum", "mean", "maximum"}
    operand : str
        The block of the operand, or of its gradient; empty for the first state.
    feeds : tuple of str
        Forward, the blocks that a product adds to, or that a sum sets; backward, the blocks of their gradients.
    """

    kind: str
    operand: str
    feeds: tuple[str, ...]


@dataclass
class Stage:
    """Links, then a function of scalars.

    Attributes
    ----------
    links : list of Step
    results : dict of str to Value
        What the function computes, by name.
    saved : dict of str to Value
        What it computes for BPTT beside.
    known : dict of Value to str
        Values that the function is given, and the arguments that they are in.
    """

    links: list[Step] = field(default_factory=list)
    results: dict[str, Value] = field(default_factory=dict)
    saved: dict[str, Value] = field(default_factory=dict)
    known: dict[Value, str] = field(default_factory=dict)


class Row(NamedTuple):
    """Names of what lies in a row of the workspace, or of saved values.

    Attributes
    ----------
    blocks : tuple of str
        Values with a number for each unit: a block of H.
    numbers : tuple of str
        Behind them, values that are the same for all units, such as sums: one number.
    """

    blocks: tuple[str, ...]
    numbers: tuple[str, ...]

    def size(self, H: int) -> int:
        """Numbers of a row, a multiple of 16 more than its blocks."""
        return len(self.blocks) * H + -(-len(self.numbers) // 16) * 16

    def place(self, name: str, H: int) -> int:
        """Where a value begins."""
        if name in self.blocks:
            return self.blocks.index(name) * H
        return len(self.blocks) * H + self.numbers.index(name)


class Program(NamedTuple):
    """One step of a cell, forward or backward.

    Attributes
    ----------
    stages : list of Stage
    row : Row
        Of the workspace.
    last : list of Step
        Links after the last stage: backward, the product for the first state.
    """

    stages: list[Stage]
    row: Row
    last: list[Step]


def saved_names(cell: Cell) -> list[str]:
    """Names of the saved values by what they are, such as ``sigmoid_f``."""
    graph = cell.graph
    named = {node: node.args[0] for node in graph.inputs}
    named |= {Value("input", name): name for name in provided(cell)}
    named |= {node: f"new_{name}" for name, node in zip(cell.states, graph.states, strict=True) if node not in named}
    taken = {*named.values(), *(f"{d}{name}" for name in cell.states for d in ("d", "new_"))}
    return [named[node] if node in named else unused(meaning(node, named), taken) for node in graph.saved]


@cache
def saved_row(cell: Cell) -> Row:
    """Names in a row of saved values."""
    same = _same_for_all(cell, provided(cell))
    names = dict(zip(saved_names(cell), map(same, cell.graph.saved), strict=True))
    return Row(tuple(name for name in names if not names[name]), tuple(name for name in names if names[name]))


def _same_for_all(cell: Cell, numbers: Iterable[str]) -> Callable[[Value], bool]:
    """A function that tells whether a value is the same for all units, as these numbers are."""
    leaves = {Value("input", name) for name in (*numbers, *cell.scalars)} - _noise(cell)
    known: dict[Value, bool] = {}

    def same(value: Value) -> bool:
        for node in topological([value], leaves=known):
            if node not in known:
                inputs = [known[operand] for operand in node.operands]
                known[node] = node in leaves or node.op == "constant" or (bool(inputs) and all(inputs))
        return known[value]

    return same


def _noise(cell: Cell) -> set[Value]:
    return {Value("input", noise.name) for noise in cell.graph.noise}


def provided(cell: Cell) -> tuple[str, ...]:
    """Names of sums, means, maxima and noise, which kernels provide beside the cell's arguments."""
    graph = cell.graph
    return (
        *(link.targets[0] for link in graph.links if link.kind != "product"),
        *(noise.name for noise in graph.noise),
    )


@cache
def forward_program(cell: Cell, keep: bool = True) -> Program:
    """The stages of a step forward; results are called ``new_h``, operands ``operand_1``.

    Without ``keep``, no stage is given what an earlier one has computed, but for saved values and operands, which all
    are computed, even where one is an argument.
    """
    graph = cell.graph
    levels = _Levels([([k.operand], [Value("input", target) for target in k.targets]) for k in graph.links])
    last = max(levels.last, *map(levels.of, graph.states))
    stages = [Stage() for _ in range(last + 1)]
    blocks = [*cell.preactivations, *cell.given, *(noise.name for noise in graph.noise)]
    numbers = [link.targets[0] for link in graph.links if link.kind != "product"]
    leaves, given = {*blocks}, {*blocks, *numbers}
    for link in graph.links:
        level, operand = levels.of(link.operand), link.name
        if keep and link.operand.op == "input" and link.operand.args[0] in leaves:
            operand = link.operand.args[0]  # it lies in a block already
        elif link.name:
            stages[level].results[operand] = link.operand
            blocks.append(operand)
        stages[level + 1].links.append(Step(link.kind, operand, link.targets))
    stages[last].results |= {f"new_{name}": value for name, value in zip(cell.states, graph.states, strict=True)}
    known = {Value("input", name): name for name in (*cell.states, *cell.vectors, *cell.scalars, *given)}
    row = _set_known(stages, levels, known, blocks, numbers, _same_for_all(cell, numbers), keep)
    for name, value in zip(saved_names(cell), graph.saved, strict=True):
        _first_with(stages, levels, value).saved[name] = value
    # Threads that share the units of a row meet between stages: what a link reads of other units lies in the row then.
    waits = len(stages) > 1 and any(link.operand in leaves for link in stages[1].links)
    return Program([*stages[:waits], *_present(stages[waits:])], row, [])


@cache
def backward_program(cell: Cell, keep: bool = True) -> Program:
    """The stages of a step's gradient; ``d{name}`` is that of an argument, ``dh_previous`` of a state before.

    ``keep`` is as for `forward_program`.
    """
    graph = cell.graph
    d = {**dict(zip(cell.arguments, graph.d_inputs, strict=True)), **graph.d_results}
    links = [
        (link, d_operand) for link, d_operand in zip(graph.links, graph.d_operands, strict=True)
        if link.name and link.kind != "maximum"
    ]  # fmt: skip
    levels = _Levels([([d[target] for target in link.targets], [d_operand]) for link, d_operand in links])
    last = max(levels.last, *map(levels.of, d.values()))
    stages = [Stage() for _ in range(last + 1)]
    blocks, numbers = [f"d{name}" for name in (*cell.preactivations, *cell.given)], []
    for link, d_operand in links:
        level, feeds = levels.of(d_operand) - 1, tuple(f"d{name}" for name in link.targets)
        stages[level].results |= {f"d{name}": d[name] for name in link.targets}
        stages[level + 1].links.append(Step(link.kind, d_operand.args[0], feeds))
        if link.kind == "product":
            blocks.append(d_operand.args[0])
        else:
            blocks += feeds
            numbers.append(d_operand.args[0])
    done = {name for stage in stages for name in stage.results}
    for link, _ in links:
        if link.kind == "product":
            stages[last].results[link.name] = link.operand
            blocks.append(link.name)
    arguments = {f"d{name}_previous" if name in cell.states else f"d{name}": d[name] for name in cell.arguments}
    stages[last].results |= {name: value for name, value in arguments.items() if name not in done}
    # A new state that is also an input keeps the input's name; a saved value is read, not computed again.
    known = {value: f"new_{name}" for name, value in zip(cell.states, graph.states, strict=True)}
    known |= dict(zip(graph.saved, saved_names(cell), strict=True))
    known |= {Value("input", name): name for name in (*cell.states, *cell.vectors, *cell.scalars)}
    known |= {node: node.args[0] for node in (*graph.d_states, *(d_operand for _, d_operand in links))}
    same = _same_for_all(cell, (*provided(cell), *numbers))
    row = _set_known(stages, levels, known, blocks, numbers, same, keep)
    first = [Step("product", "", tuple(f"d{name}" for name in k.targets)) for k in graph.links if not k.name]
    return Program(_present(stages), row, first)


class _Levels:
    """The stage at which each value can be computed, by the links that it depends on.

    Parameters
    ----------
    links : list of (list of Value, list of Value)
        What each link takes, and the inputs of the graph that it gives.
    """

    def __init__(self, links: Sequence[tuple[list[Value], list[Value]]]):
        self._of: dict[Value, int] = {}
        self.last = 0
        waiting = list(links)
        while waiting:
            unknown = {leaf for _, leaves in waiting for leaf in leaves}
            ready = [unknown.isdisjoint(topological(taken)) for taken, _ in waiting]
            found = [
                (leaf, 1 + max(map(self.of, taken), default=0))
                for (taken, leaves), now in zip(waiting, ready, strict=True)
                if now
                for leaf in leaves
            ]
            self._of.update(found)
            self.last = max([self.last, *(level for _, level in found)])
            waiting = [pair for pair, now in zip(waiting, ready, strict=True) if not now]

    def of(self, value: Value) -> int:
        for node in topological([value], leaves=self._of):
            if node not in self._of:
                self._of[node] = max((self._of[operand] for operand in node.operands), default=0)
        return self._of[value]


def _set_known(
    stages: list[Stage], levels: _Levels, known: dict[Value, str], blocks: list[str], numbers: list[str],
    same: Callable[[Value], bool], keep: bool,
) -> Row:  # fmt: skip
    """Set what each stage's function is given; what an earlier stage has computed at a price is kept in the row."""
    computed: set[Value] = set()
    kept: list[tuple[int, Value, str]] = []
    for s, stage in enumerate(stages):
        have = {**known, **{value: name for at, value, name in kept if at < s}}
        results = list(stage.results.values())
        early = [node for node in topological(results, leaves=have) if node not in have and levels.of(node) < s]
        free = {*have, *(node for node in early if node.op in EXPENSIVE and node not in computed)}
        for value in values_to_save(early, results, free) if early and keep else ():
            name = f"kept_{len(kept) + 1}"
            kept.append((levels.of(value), value, name))
            (numbers if same(value) else blocks).append(name)
        have |= {value: name for at, value, name in kept if at < s}
        computed.update(node for node in topological(results, leaves=have) if node not in have)
    for s, stage in enumerate(stages):
        stage.known = {**known, **{value: name for at, value, name in kept if at < s}}
        stage.results = {**{name: value for at, value, name in kept if at == s}, **stage.results}
    return Row(tuple(blocks), tuple(numbers))


def _first_with(stages: list[Stage], levels: _Levels, value: Value) -> Stage:
    """The first stage that computes a value, or is given it."""
    for stage in stages[levels.of(value) :]:
        if value in {*topological(list(stage.results.values()), leaves=stage.known)}:
            return stage
    return stages[levels.of(value)]


def _present(stages: Iterable[Stage]) -> list[Stage]:
    """The stages in which something is done."""
    return [stage for stage in stages if stage.links or stage.results or stage.saved]
