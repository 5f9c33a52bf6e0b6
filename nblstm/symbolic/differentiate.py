"""Reverse-mode differentiation of a graph.

References
----------
A. Griewank and A. Walther, *Evaluating Derivatives*, 2nd ed., 2008: chapter 3 (reverse mode).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

from nblstm.symbolic.graph import COMPARISONS, ZERO, Value, compare, function, select, topological

#: For y = op(*args) and d, the gradient with respect to y: the gradient with respect to each argument. In terms of y
#: wherever possible, as y is computed anyway, or saved.
RULES: dict[str, Callable[..., tuple]] = {
    "add": lambda d, y, a, b: (d, d),
    "sub": lambda d, y, a, b: (d, -d),
    "mul": lambda d, y, a, b: (d * b, d * a),
    "div": lambda d, y, a, b: (d / b, -(d / b) * y),
    "neg": lambda d, y, a: (-d,),
    "exp": lambda d, y, a: (d * y,),
    "expm1": lambda d, y, a: (d * (y + 1),),
    "log": lambda d, y, a: (d / a,),
    "log1p": lambda d, y, a: (d / (1 + a),),
    "sqrt": lambda d, y, a: (0.5 * d / y,),
    "rsqrt": lambda d, y, a: (-0.5 * d * (y * y * y),),  # without the division that 1 / sqrt(a) would have
    "abs": lambda d, y, a: (select(compare("gt", a, 0), d, select(compare("lt", a, 0), -d, 0)),),
    "sigmoid": lambda d, y, a: (d * (y * (1 - y)),),
    "tanh": lambda d, y, a: (d * (1 - y * y),),
    "erf": lambda d, y, a: (d * (2 / math.sqrt(math.pi)) * function("exp", -(a * a)),),
    "sin": lambda d, y, a: (d * function("cos", a),),
    "cos": lambda d, y, a: (-(d * function("sin", a)),),
    "exp2": lambda d, y, a: (d * (y * math.log(2)),),
    "log2": lambda d, y, a: (d / (a * math.log(2)),),
    "sign": lambda d, y, a: (None,),
    "round": lambda d, y, a: (d,),  # straight through (Bengio, Leonard & Courville 2013)
    "drawn": lambda d, y, u, p: (None, None),
    "stop_gradient": lambda d, y, a: (None,),
    # y < b exactly where a < b, and y is more often at hand: relu's gradient needs its output alone.
    "minimum": lambda d, y, a, b: (select(compare("lt", y, b), d, 0), select(compare("lt", y, b), 0, d)),
    "maximum": lambda d, y, a, b: (select(compare("gt", y, b), d, 0), select(compare("gt", y, b), 0, d)),
    "clip": lambda d, y, x, low, high: (
        select(compare("gt", y, low), select(compare("lt", y, high), d, 0), 0),
        select(compare("gt", y, low), 0, select(compare("lt", y, high), d, 0)),
        select(compare("lt", y, high), 0, d),
    ),
    "where": lambda d, y, condition, a, b: (None, select(condition, d, 0), select(condition, 0, d)),
}


def gradients(outputs, d_outputs, inputs) -> list[Value]:
    """The gradient of ``sum(d * output)`` with respect to each input, as expressions."""
    d: dict[Value, Value] = defaultdict(lambda: ZERO)
    for output, d_output in zip(outputs, d_outputs, strict=True):
        d[output] = d[output] + d_output
    for node in reversed(topological(outputs)):
        if d[node] is ZERO or node.op in COMPARISONS or not node.operands:
            continue
        for operand, contribution in zip(node.args, RULES[node.op](d[node], node, *node.args), strict=True):
            if contribution is not None:
                d[operand] = d[operand] + contribution
    return [d[x] for x in inputs]
