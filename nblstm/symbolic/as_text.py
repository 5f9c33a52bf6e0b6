"""Traced equations as the text of Python functions, by which pickle and files send them to other processes."""

from __future__ import annotations

import ast
import re
from functools import partial
from typing import Any

from nblstm.symbolic import functions
from nblstm.symbolic.emit import OPERATORS, Dialect, Form, functions_from, symbol
from nblstm.symbolic.graph import NUMERIC, Value
from nblstm.symbolic.recorder import PER, recorder


def _over(kind: str, x) -> Value:
    return recorder(kind).over(kind, x)


def _random(kind: str, p: float, per: int) -> Value | float:
    return recorder(kind).random(kind, float(p), PER[int(per)])


#: Python on traced values and on plain numbers alike; no argument can have a name that begins with ``new_``.
DIALECT = Dialect({**OPERATORS, "where": Form("new_where({}, {}, {})"), "drawn": Form("new_drawn({}, {})")}, omitted=())
FUNCTIONS: dict[str, object] = {
    **{name: partial(functions.primitive, name) for name in NUMERIC},
    **{name: partial(functions.choice, name) for name in ("minimum", "maximum", "clip")},
    "new_where": functions.where, "new_sum": partial(_over, "sum"), "new_mean": partial(_over, "mean"),
    "new_maximum": partial(_over, "maximum"), "new_bernoulli": partial(_random, "bernoulli"),
    "new_normal": partial(_random, "normal"), "new_uniform": partial(_random, "uniform"), "new_drawn": functions.drawn,
    "__name__": __name__, "__builtins__": {},  # a text has no other names
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


#: Names of the functions of a text.
NAMES = r"operand_\d+|new_states|equations"

#: All that the body of a function in `DIALECT` is made of.
_SYNTAX = (
    ast.Assign, ast.Return, ast.Name, ast.Load, ast.Store, ast.Tuple, ast.Constant, ast.Call, ast.Compare, ast.cmpop,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.UnaryOp, ast.USub,
)  # fmt: skip


def check_text(text: str) -> None:
    """Check a text that comes from a file: functions of `equations_from`, of arithmetic, and nothing else.

    Raises
    ------
    ValueError
        If there is anything else in it.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("the equations are no text that nblstm has written; make the file anew") from None
    known = set(FUNCTIONS)
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef) or not re.fullmatch(NAMES, function.name):
            raise _foreign(function)
        names = {argument.arg for argument in function.args.args}
        if ast.unparse(function.args) != ", ".join(argument.arg for argument in function.args.args):
            raise _foreign(function)
        if function.decorator_list or function.returns:
            raise _foreign(function)
        for node in [found for statement in function.body for found in ast.walk(statement)]:
            fine = isinstance(node, _SYNTAX)
            if isinstance(node, ast.Call):
                called = node.func
                fine = isinstance(called, ast.Name) and called.id in known | names and not node.keywords
            elif isinstance(node, ast.Constant):
                fine = isinstance(node.value, int | float) and abs(node.value) < 1e300
            if not fine:
                raise _foreign(node)
        known.add(function.name)


def _foreign(node: ast.AST) -> ValueError:
    part = ast.unparse(node)[:60]
    return ValueError(f"the equations have {part!r} in them, which nblstm does not write; make the file anew")
