"""Parts that transformations of cells share: their equations call those of another cell."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from nblstm.cells.cell import Cell


def argument_names(base: Cell) -> tuple[str, ...]:
    """Names of the arguments that gates arrive as, two of a split one."""
    others = {*base.states, *base.given, *base.vectors, *base.scalars}
    return tuple(name for name in base.arguments if name not in others)


def as_declared(base: Cell) -> dict[str, Any]:
    """Arguments of `cell` for another one that is declared like this."""
    kinds = "gates", "states", "split", "called", "input_only", "recurrent_only", "vectors", "scalars", "signals"
    initial = dict(zip(base.states, base.initial, strict=True))
    names = {kind: " ".join(getattr(base, kind)) for kind in kinds}
    return {**names, "output": base.output, "initial": initial, "matrix": base.matrix}


def with_signature(equations: Callable, name: str, doc: str | None, arguments: Iterable[str]) -> None:
    """Give equations that take ``*scalars`` a name, a docstring and arguments."""
    equations.__name__, equations.__doc__ = name, doc
    parameters = [inspect.Parameter(own, inspect.Parameter.POSITIONAL_ONLY) for own in arguments]
    equations.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
