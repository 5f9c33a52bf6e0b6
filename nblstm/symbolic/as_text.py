"""Traced equations as the text of Python functions, by which pickle sends them to other processes."""

from __future__ import annotations

from functools import partial
from typing import Any

from nblstm.symbolic import functions
from nblstm.symbolic.emit import OPERATORS, Dialect, Form, functions_from, symbol
from nblstm.symbolic.graph import NUMERIC

#: Python on traced values and on plain numbers alike; no argument can have a name that begins with ``new_``.
DIALECT = Dialect({**OPERATORS, "where": Form("new_where({}, {}, {})")})
FUNCTIONS: dict[str, object] = {
    **{name: partial(functions.primitive, name) for name in NUMERIC},
    **{name: partial(functions.choice, name) for name in ("minimum", "maximum", "clip")},
    "new_where": functions.where, "__name__": __name__,
}  # fmt: skip

#: Objects that were pickled or unpickled, by their equations, so that a copy in the same process is the object itself;
#: the last `KNOWN` ones, for a service that gets new ones every day.
known: dict[tuple, Any] = {}
KNOWN = 256


def remember(value: tuple, made) -> None:
    """Put an object behind all others of `known`."""
    known.pop(value, None)
    known[value] = made
    for oldest in list(known)[:-KNOWN]:
        known.pop(oldest, None)


def equations_from(text: str, name: str) -> Any:
    """The function ``equations`` of a text in `DIALECT`; ``name`` is that of what it belongs to, in tracebacks."""
    return functions_from(text, f"equations {symbol(name)}", FUNCTIONS)["equations"]
