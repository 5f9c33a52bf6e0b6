"""Expression graphs of scalars: equations run on symbols, and each operation makes a node.

Equal expressions are the same object, so a graph never computes anything twice; arithmetic with 0 and 1 and double
signs are simplified as nodes are made.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Collection

from nblstm.symbolic.unsupported import FUNCTIONS, UNSUPPORTED, CellError, raising, set_operations

#: Functions of a graph on plain numbers: constants in a cell fold, and a cell can be called with floats.
NUMERIC: dict[str, Callable[..., float]] = {
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "abs": abs,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x)),
    "tanh": math.tanh,
    "erf": math.erf,
    "sin": math.sin,
    "cos": math.cos,
    "exp2": lambda x: 2.0**x,
    "log2": math.log2,
    "sign": lambda x: 1.0 if x > 0 else -1.0 if x < 0 else x,
    "round": lambda x: float(round(x)) if math.isfinite(x) else x,
    "stop_gradient": lambda x: x,
    "minimum": min,
    "maximum": max,
    "clip": lambda x, low, high: min(max(x, low), high),
}

COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}

#: All nodes, by operation and arguments, and some that are dead: a WeakValueDictionary drops those in a callback, in
#: which an exception of a signal's handler would be lost.
_interned: dict[tuple, weakref.ref[Value]] = {}
_limit = 1000  # entries before the next look for dead ones


def _drop_dead_nodes() -> None:
    global _limit
    entries = list(_interned.items())
    while entries:  # newest first: a key holds the operands, which are older
        key, known = entries.pop()
        if known() is None:
            _interned.pop(key, None)
    _limit = 1000 + 2 * len(_interned)


class Value:
    """A scalar known only when the compiled cell runs.

    Attributes
    ----------
    op : str
        ``"input"``, ``"constant"``, an operator (``"add"``) or a function (``"tanh"``).
    args : tuple
        The operands; the name for an input, the number for a constant.
    """

    __slots__ = ("__weakref__", "args", "op")

    op: str
    args: tuple

    def __new__(cls, op: str, *args):
        """Intern: equal expressions are one object."""
        # A constant's sign matters: 0.0 == -0.0 would merge them.
        key = (op, *(("constant", a, math.copysign(1, a)) if isinstance(a, float) else a for a in args))
        known = _interned.get(key)
        node = None if known is None else known()
        if node is None:
            node = super().__new__(cls)
            node.op, node.args = op, args
            _interned[key] = weakref.ref(node)
            if len(_interned) > _limit:
                _drop_dead_nodes()
        return node

    @property
    def operands(self) -> tuple[Value, ...]:
        """The nodes that this one is computed from."""
        return () if self.op in ("input", "constant") else self.args

    def __repr__(self):
        return f"{self.op}({', '.join(map(str, self.args))})"

    def __add__(self, other):
        return add(self, other)

    def __radd__(self, other):
        return add(other, self)

    def __sub__(self, other):
        return sub(self, other)

    def __rsub__(self, other):
        return sub(other, self)

    def __mul__(self, other):
        return mul(self, other)

    def __rmul__(self, other):
        return mul(other, self)

    def __truediv__(self, other):
        return div(self, other)

    def __rtruediv__(self, other):
        return div(other, self)

    def __neg__(self):
        return neg(self)

    def __pos__(self):
        return self

    def __pow__(self, exponent):
        return power(self, exponent)

    def __rpow__(self, base):
        return power(base, self)

    def __abs__(self):
        return function("abs", self)

    def __round__(self, digits=None):
        if digits is not None:
            raise CellError("rounds to digits; write round(100 * x) / 100 with nblstm.round")
        return function("round", self)

    def __lt__(self, other):
        return compare("lt", self, other)

    def __le__(self, other):
        return compare("le", self, other)

    def __gt__(self, other):
        return compare("gt", self, other)

    def __ge__(self, other):
        return compare("ge", self, other)

    def __call__(self, *others):
        """Raise: a value is no function."""
        raise CellError("calls a value as if it were a function; only gates named in called= are, as in n(r * h)")

    def __format__(self, spec):
        if spec:
            raise CellError(f"formats a traced value as {spec!r}, but it has no digits yet; print it without that")
        return repr(self)

    def __array_function__(self, function, types, args, kwargs):
        raise CellError(
            f"calls {function.__module__}.{function.__name__} on a traced value, but a cell sees one unit of one "
            "sequence, a loss one number, a scalar; use operators, and the functions that nblstm exports"
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        operators = {"add": add, "subtract": sub, "multiply": mul, "divide": div, "power": power}
        if method == "__call__" and ufunc.__name__ in operators and not kwargs:
            return operators[ufunc.__name__](*inputs)  # a NumPy number on the left of an operator
        name = ufunc.__name__
        instead = f"write nblstm.{name}" if name in FUNCTIONS else f"nblstm has {', '.join(FUNCTIONS)}"
        raise CellError(f"calls numpy.{name} on a traced value; {instead}")


# Dictionaries and sets compare by identity first, so only equations get to == and !=.
for _operations, _message in UNSUPPORTED.items():
    set_operations(Value, _operations, raising(_message))


def as_value(x) -> Value:
    """A `Value` for a traced value or a number; of a comparison, 1 where it holds, else 0."""
    if isinstance(x, Value):
        return x if x.op not in COMPARISONS else Value("where", x, ONE, ZERO)
    try:
        number = float(x)
    except CellError:
        raise  # x's own message says what to write instead
    except (TypeError, ValueError):
        raise CellError(f"combines a traced value with {type(x).__name__} {x!r}; only numbers can be") from None
    if not math.isfinite(number):
        raise CellError(f"has the constant {number}, or comes to it; use finite numbers, such as 1e30")
    return Value("constant", number)


ZERO, ONE = as_value(0), as_value(1)


def _both_constant(a: Value, b: Value) -> bool:
    return a.op == b.op == "constant"


def add(a, b) -> Value:
    """a + b."""
    a, b = as_value(a), as_value(b)
    if _both_constant(a, b):
        return as_value(a.args[0] + b.args[0])
    if a is ZERO:
        return b
    if b is ZERO:
        return a
    if b.op == "neg":
        return sub(a, b.args[0])
    if a.op == "neg":
        return sub(b, a.args[0])
    return Value("add", a, b)


def sub(a, b) -> Value:
    """a - b."""
    a, b = as_value(a), as_value(b)
    if _both_constant(a, b):
        return as_value(a.args[0] - b.args[0])
    if b is ZERO:
        return a
    if a is ZERO:
        return neg(b)
    if b.op == "neg":
        return add(a, b.args[0])
    return Value("sub", a, b)


def mul(a, b) -> Value:
    """a * b."""
    a, b = as_value(a), as_value(b)
    if _both_constant(a, b):
        return as_value(a.args[0] * b.args[0])
    if a is ZERO or b is ZERO:
        return ZERO
    if a is ONE:
        return b
    if b is ONE:
        return a
    if a.op == "neg":
        return neg(mul(a.args[0], b))
    if b.op == "neg":
        return neg(mul(a, b.args[0]))
    return Value("mul", a, b)


def div(a, b) -> Value:
    """a / b."""
    a, b = as_value(a), as_value(b)
    if b is ZERO:
        raise CellError("divides by the constant 0; write a divisor that is not always 0")
    if _both_constant(a, b):
        return as_value(a.args[0] / b.args[0])
    if a is ZERO:
        return ZERO
    if b is ONE:
        return a
    if a.op == "neg":
        return neg(div(a.args[0], b))
    return Value("div", a, b)


def neg(a) -> Value:
    """-a."""
    a = as_value(a)
    if a.op == "constant":
        return as_value(-a.args[0])
    if a.op == "neg":
        return a.args[0]
    if a.op == "sub":
        return sub(a.args[1], a.args[0])
    return Value("neg", a)


def power(a, exponent) -> Value:
    """``a ** exponent``.

    Of a constant exponent, products for small integers and ``sqrt(a)`` for 1/2. Else ``exp(exponent log(a))``, whose
    relative error grows with ``|exponent log(a)|``, by some units in the last place for each 1 of it. That is for
    a > 0: below 0 the power and its gradients are NaN; at 0 the power is 0 for an exponent above 0 and infinite for one
    below, and its gradients are NaN. Where a may be 0, write ``nblstm.maximum(a, 1e-6) ** exponent``.
    """
    exponent = as_value(exponent)
    if exponent.op != "constant":
        return _traced_power(as_value(a), exponent)
    a, exponent = as_value(a), exponent.args[0]
    if exponent < 0:
        return div(ONE, power(a, -exponent))
    if exponent == 0.5:
        return function("sqrt", a)
    if not exponent.is_integer() or exponent > 64:
        return function("exp", mul(exponent, function("log", a)))
    result, square, left = ONE, a, int(exponent)
    while left:
        if left % 2:
            result = mul(result, square)
        square, left = mul(square, square), left // 2
    return result


def _traced_power(a: Value, exponent: Value) -> Value:
    if a.op == "constant":
        if a.args[0] <= 0:
            raise CellError(f"raises {a.args[0]:g} to a traced power; give a number above 0, or a traced value")
        if a.args[0] == 2:
            return function("exp2", exponent)
    return function("exp", mul(exponent, function("log", a)))


def function(name: str, *args) -> Value:
    """A function of `NUMERIC` on traced values or numbers."""
    values = tuple(map(as_value, args))
    if all(value.op == "constant" for value in values):
        return as_value(NUMERIC[name](*(value.args[0] for value in values)))
    return Value(name, *values)


def compare(op: str, a, b) -> Value:
    """A comparison of `COMPARISONS`, for `select`."""
    return Value(op, as_value(a), as_value(b))


def select(condition: Value, a, b) -> Value:
    """``a`` where ``condition`` holds, else ``b``; both are computed."""
    a, b = as_value(a), as_value(b)
    return a if a is b else Value("where", condition, a, b)


def topological(outputs, leaves: Collection[Value] = ()) -> list[Value]:
    """Every node that the outputs need, operands before their users; of ``leaves``, no operands."""
    order: list[Value] = []
    seen: set[Value] = set()
    waiting = list(reversed(outputs))
    while waiting:
        node = waiting[-1]
        if node in seen:
            waiting.pop()
            continue
        operands = () if node in leaves else node.operands
        missing = [operand for operand in operands if operand not in seen]
        if missing:
            waiting += reversed(missing)
        else:
            seen.add(node)
            order.append(waiting.pop())
    return order
