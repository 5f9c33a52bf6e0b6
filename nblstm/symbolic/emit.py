"""From a graph to source text: one walk, and for each target a table of how it spells operations, its dialect.

A new target (torch, ONNX's text, PTX) is a new table, see `Dialect`, and no new walk.
"""

from __future__ import annotations

import linecache
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nblstm.symbolic.graph import COMPARISONS, ONE, Value, topological


class Form(NamedTuple):
    """Spelling of an operation.

    Attributes
    ----------
    template : str
        With ``{}`` in place of each operand.
    binding : int
        How tightly the expression binds: it gets parentheses within one that needs more.
    operands : tuple of int
        How tightly each operand has to bind; if empty, not at all.
    """

    template: str
    binding: int = 9
    operands: tuple[int, ...] = ()


def infix(sign: str, binding: int) -> Form:
    """``a sign b``, grouped from the left."""
    return Form(f"{{}} {sign} {{}}", binding, (binding, binding + 1))


#: Operators and their precedence, of Python as of C.
OPERATORS = {
    **{op: infix(sign, 1) for op, sign in COMPARISONS.items()},
    "add": infix("+", 2), "sub": infix("-", 2), "mul": infix("*", 3), "div": infix("/", 3), "neg": Form("-{}", 4, (4,)),
}  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """Spelling of functions for one target.

    Attributes
    ----------
    operations : dict of str to Form
        An operation that is not listed is a call, such as ``tanh(x)``.
    constant, line, function : str
        Templates of a number, of an assignment and of the whole; ``{comma}`` makes a tuple of a single result. A Form
        has ``{{name}}`` where its instruction, as an assembler's, names its own result.
    longest : int
        Characters of an expression that is not broken up; 0 gives each operation a line, as an assembler needs it.
    omitted : tuple of str
        Operations whose result is their operand: nothing is written for them.
    """

    operations: Mapping[str, Form]
    constant: str = "{!r}"
    line: str = "    {name} = {value}\n"
    function: str = "def {name}({arguments}):\n{lines}    return {results}\n"
    longest: int = 400  # Python's parser takes 100 parentheses within each other
    omitted: tuple[str, ...] = ("stop_gradient",)

    def expression(self, node: Value, operand: Callable[[Value, int], str]) -> str:
        """A node in terms of its operands, of which ``operand(value, binding)`` gives the text."""
        if node.op == "input":
            raise AssertionError(f"value {node.args[0]!r} is not at hand here")
        if node.op == "constant":
            return self.constant.format(*node.args)
        form = self.form(node)
        return form.template.format(*map(operand, node.args, form.operands or (0,) * len(node.args)))

    def form(self, node: Value) -> Form:
        """Spelling of a node's operation."""
        return self.operations.get(node.op) or Form(f"{node.op}({', '.join(['{}'] * len(node.args))})")


#: Python on scalars, for Numba: ``real`` is the dtype, functions are those of `nblstm.codegen.scalar`.
SCALAR = Dialect(
    {
        **OPERATORS, "where": Form("{1} if {0} else {2}", 0, (1, 1, 1)),
        "drawn": Form("real(1.0) if {} < {} else real(0.0)", 0, (2, 2)),
    }, "real({!r})",
    function="def {name}({arguments}):\n{lines}    return {results}{comma}\n",
)  # fmt: skip


def emit_function(
    name: str, arguments: Iterable[str], known: Mapping[Value, str], results: Iterable[tuple[str, Value]],
    dialect: Dialect = SCALAR, hints: Mapping[Value, str] | None = None, rounded: Collection[Value] = (),
) -> str:  # fmt: skip
    """Source of a function: a line for each result, and for each value that is used more than once, or is long.

    Parameters
    ----------
    name : str
    arguments : iterable of str
    known : dict of Value to str
        Values that the function is given, and the arguments that they are in.
    results : iterable of (str, Value)
        Values to return, and names for them.
    dialect : Dialect
    hints : dict of Value to str, optional
        Names of other values, which are else called by their `meaning`.
    rounded : collection of Value, optional
        Products that become no part of a fused multiply-add; ``product(a, b)`` in the source.
    """

    def written(node: Value) -> Value:
        while node.op in dialect.omitted and node not in known:
            [node] = node.args
        return node

    arguments, results = list(arguments), [(result, written(node)) for result, node in results]
    returned = [node for _, node in results]
    order = [node for node in topological(returned, leaves=known) if node not in known and written(node) is node]
    shown = {*returned}
    uses = Counter(written(operand) for node in order for operand in node.operands)
    proposed = {**(hints or {}), **{node: result for result, node in reversed(results)}}
    named, taken = dict(known), {*arguments}
    text: dict[Value, str] = {}  # expressions without a name, which stand where they are used
    lines = []

    def operand(node: Value, binding: int) -> str:
        node = written(node)
        if node in named:
            return named[node]
        return f"({text[node]})" if dialect.form(spelled(node)).binding < binding else text[node]

    def spelled(node: Value) -> Value:
        return Value("product", *node.args) if node in rounded else node

    for node in order:
        expression = dialect.expression(spelled(node), operand)
        if node.op != "constant" and (node in shown or uses[node] > 1 or len(expression) > dialect.longest):
            named[node] = unused(proposed.get(node) or meaning(node, named), taken)
            lines.append(dialect.line.format(name="{name}", value=expression).format(name=named[node]))
        else:
            text[node] = expression
    return dialect.function.format(
        name=name, arguments=", ".join(arguments), lines="".join(lines), comma="," * (len(results) == 1),
        results=", ".join(operand(node, 0) for node in returned),
    )  # fmt: skip


#: Names of operators within names of values.
_WORDS = {
    "add": "plus", "sub": "minus", "mul": "times", "div": "over", "where": "or",
    "lt": "below", "le": "up_to", "gt": "above", "ge": "from",
}  # fmt: skip


def meaning(node: Value, named: Mapping[Value, str]) -> str:
    """A name for a value by what it is computed from: ``tanh_g``, ``one_minus_sigmoid_z``, ``a_times_b``.

    Parameters
    ----------
    node : Value
    named : dict of Value to str
        Names of values that it may be computed from.
    """
    last = len(node.operands) - 1
    parts = [_first(operand, named, k == last > 0) for k, operand in enumerate(node.operands)]
    if node.op == "sub" and node.args[0] is ONE:
        return f"one_minus_{parts[1]}"
    if node.op in _WORDS:
        return f"_{_WORDS[node.op]}_".join(parts[-2:])
    return f"{'minus' if node.op == 'neg' else node.op}_{parts[0]}"


def _first(node: Value, named: Mapping[Value, str], digits: bool) -> str:
    """The first name in the expression of a value, behind the functions applied to it; digits of a constant."""
    functions = ""
    while node not in named and node.operands:
        functions += f"{node.op}_" * (node.op not in _WORDS and node.op not in ("neg", "stop_gradient"))
        node = next((operand for operand in node.operands if operand.op != "constant"), node.operands[0])
    name = named[node] if node in named else str(node.args[0])
    if node.op == "constant":
        whole = name.removesuffix(".0")
        name = whole if digits and whole.isdigit() else "constant"
    return functions + name


def unused(name: str, taken: set[str]) -> str:
    """The name, with a number behind it if it is taken; taken from then on."""
    name, number = name if len(name) <= 40 else "value", 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    taken.add(free)
    return free


def symbol(name: str) -> str:
    """A name in letters, digits and _ of ASCII alone, as symbols and files have it; at most 60 characters."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)[:60]


def functions_from(source: str, name: str, scope: Mapping[str, Any]) -> dict[str, Any]:
    """Run generated source, and return all names: those of the scope and the functions that it defines.

    Tracebacks and profilers show its lines as those of a file ``<nblstm name>``.
    """
    file, names = f"<nblstm {name}>", dict(scope)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), names)
    return names
