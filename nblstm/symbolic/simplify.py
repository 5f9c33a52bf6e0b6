"""Simplification of conditionals, for functions of whole arrays, which compute both branches of each.

`differentiate` leaves many: the gradient of softplus has four, and is sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable

from nblstm.symbolic.graph import ONE, ZERO, Value, add, compare, div, function, mul, neg, select, sub, topological

_ARITHMETIC: dict[str, Callable[..., Value]] = {"add": add, "sub": sub, "mul": mul, "div": div, "neg": neg}


def simplified(output: Value, known: dict[Value, Value]) -> Value:
    """The same value in terms of known ones, with as few ``where`` as possible, and then as `without_wheres`."""
    rules = {**dict.fromkeys(_ARITHMETIC, _arithmetic), "where": lambda _, *operands: _where(*operands)}
    return rebuilt(output, known, rules)


def without_wheres(output: Value) -> Value:
    """The same value with products, maxima and absolute values in place of ``where`` as far as possible.

    A condition is then a number, 1 or 0.
    """
    return rebuilt(output, {}, {"where": lambda _, *operands: _product(*operands)})


def rebuilt(output: Value, known: dict[Value, Value], rules: dict[str, Callable[..., Value]] | None = None) -> Value:
    """The same value in terms of known ones, with some operations made by ``rule(op, *operands)``."""
    new, rules = dict(known), rules or {}
    for node in topological([output], leaves=known):
        if node not in new:
            operands = [new[operand] for operand in node.operands]
            new[node] = rules.get(node.op, Value)(node.op, *operands) if operands else node
    return new[output]


def of_constants(value: Value) -> bool:
    """True for a constant, and for a choice among some."""
    return value.op == "constant" or (value.op == "where" and all(map(of_constants, value.args[1:])))


def _arithmetic(op: str, a: Value, *second: Value) -> Value:
    """``a op b``: ``where(c, p, q) op where(c, r, s) = where(c, p op r, q op s)``, likewise with constants."""
    b = second[0] if second else ZERO
    if op == "div" and a.op == "constant" and a.args[0] < 0:
        return neg(div(neg(a), b))
    if op == "sub" and b.op == "constant" and b.args[0] < 0:
        op, second = "add", (neg(b),)
    if op in ("add", "sub") and a.op == "add" and a.args[1].op == b.op == "where" and a.args[1].args[0] is b.args[0]:
        return add(a.args[0], _arithmetic(op, a.args[1], b))  # (t + where) + where
    conditions = {value.args[0] for value in (a, b) if value.op == "where"}
    if len(conditions) == 1 and (a.op == b.op or op == "neg" or (of_constants(a) and of_constants(b))):
        branches = [[value.args[k] if value.op == "where" else value for value in (a, *second)] for k in (1, 2)]
        return _where(*conditions, *(_arithmetic(op, *branch) for branch in branches))
    return _ARITHMETIC[op](a, *second)


def _where(condition: Value, a: Value, b: Value) -> Value:
    """``where(condition, a, b)``, without those by the same condition within."""
    a, b = _chosen(condition, 1, a), _chosen(condition, 2, b)
    if b is ZERO and a.op == "where" and a.args[2] is ZERO:
        return select(Value("mul", condition, a.args[0]), a.args[1], ZERO)  # both conditions hold
    x = condition.args[0]
    if b.op == "mul" and b.args[0].op == "div" and condition is compare("gt", x, 0):
        # With e = exp(-|x|): where(x > 0, d - d / (1 + e) e, d / (1 + e) e) = d sigmoid(x).
        d, e = b.args[0].args[0], function("exp", select(condition, neg(x), x))
        if b is mul(div(d, add(ONE, e)), e) and a is sub(d, b):
            return mul(d, function("sigmoid", x))
    return select(condition, a, b)


def _chosen(condition: Value, branch: int, value: Value) -> Value:
    """The value in a branch of ``where(condition, ...)``: ``f where(condition, p, q)`` is f p in the first."""
    if value.op == "where" and value.args[0] is condition:
        return value.args[branch]
    if value.op == "mul":
        return mul(*(_chosen(condition, branch, factor) for factor in value.args))
    return value


def _product(condition: Value, a: Value, b: Value) -> Value:
    """``where(condition, a, b)`` in cheaper operations, if there are some."""
    x, bound = condition.args
    if condition.op == "gt" and bound is ZERO:
        if a is x and (b is ZERO or _is_fraction(b, x)):
            return Value("maximum", x, b)
        if a is ZERO and b is x:
            return Value("minimum", x, ZERO)
        if a is neg(x) and b is x:
            return Value("neg", Value("abs", x))
        if b is Value("mul", neg(a), compare("lt", x, ZERO)):  # the gradient of abs
            signed = _with_sign(a, x)
            return mul(a, Value("sign", x)) if signed is None else signed
    if b is ZERO:
        return condition if a is ONE else Value("mul", a, condition)
    if a is ZERO:
        return Value("mul", b, Value("not", condition))
    return Value("where", condition, a, b)


def _with_sign(value: Value, x: Value) -> Value | None:
    """``value * sign(x)`` where x is a factor of the value, as ``x sign(x) = |x|``; else None."""
    if value is x:
        return Value("abs", x)
    if value.op in ("mul", "div", "neg"):
        for k, factor in enumerate(value.args[: 1 + (value.op == "mul")]):
            signed = _with_sign(factor, x)
            if signed is not None:
                return _ARITHMETIC[value.op](*value.args[:k], signed, *value.args[k + 1 :])
    return None


def _is_fraction(b: Value, x: Value) -> bool:
    """True if b is x times a constant from 0 to 1."""
    constants = [value for value in b.operands if value.op == "constant"]
    return b.op == "mul" and x in {*b.operands} and all(0 <= k.args[0] <= 1 for k in constants) and len(constants) == 1
