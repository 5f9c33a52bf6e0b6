"""Equations whose number of arguments depends on a factory's."""

import inspect
from collections.abc import Callable, Iterable


def with_arguments(equations: Callable, names: Iterable[str]) -> Callable:
    """The equations, written with ``*`` for arguments, with a signature that names each, as `cell` needs."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    equations.__signature__ = signature  # type: ignore[attr-defined]
    return equations
