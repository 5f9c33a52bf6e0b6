"""Traced equations as the text of Python functions, by which pickle and files send them to other processes."""

from __future__ import annotations

import ast
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


#: All that a text in `DIALECT` is made of.
_SYNTAX = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Assign, ast.Return, ast.Name, ast.Load, ast.Store,
    ast.Tuple, ast.Constant, ast.Call, ast.BinOp, ast.UnaryOp, ast.Compare, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip


def check_text(text: str) -> None:
    """Check a text that comes from a file: it has arithmetic and functions of equations, and can do nothing else.

    Raises
    ------
    ValueError
        If there is anything else in it.
    """
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError:
        raise ValueError("the equations are no text that nblstm has written; make the file anew") from None
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    given = {node.arg for node in nodes if isinstance(node, ast.arg)}
    callable_names = {*FUNCTIONS, *own, *given}
    for node in nodes:
        fine = isinstance(node, _SYNTAX)
        if isinstance(node, ast.Call):
            fine = not node.keywords and isinstance(node.func, ast.Name) and node.func.id in callable_names
        elif isinstance(node, ast.FunctionDef):
            fine = not node.decorator_list
        elif isinstance(node, ast.Name):
            fine = not node.id.startswith("__")
        if not fine:
            part = ast.unparse(node)[:60]
            raise ValueError(f"the equations have {part!r} in them, which nblstm does not write; make the file anew")
