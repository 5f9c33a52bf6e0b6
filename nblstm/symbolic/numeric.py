"""The functions of a graph on plain numbers, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Callable

#: How each function evaluates on plain numbers: constants in a cell fold, and a cell can be called with floats.
NUMERIC: dict[str, Callable[..., float]] = {
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "abs": abs,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x)),
    "tanh": math.tanh,
    "erf": math.erf,
    "minimum": min,
    "maximum": max,
}

COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}

#: Functions that cost as much as ten multiplications: BPTT saves their results rather than computing them again.
EXPENSIVE = frozenset({"exp", "expm1", "log", "log1p", "sqrt", "sigmoid", "tanh", "erf"})
