"""Python's operations that a symbol does not support, each with its error: what to write instead."""

from __future__ import annotations

from collections.abc import Callable


class CellError(TypeError):
    """A cell's equations are not something nblstm can trace."""


#: Names of the functions for equations, which `functions` defines and exports.
FUNCTIONS = (
    "abs", "clip", "cos", "elu", "erf", "exp", "exp2", "gelu", "hard_sigmoid", "hard_tanh", "leaky_relu", "log", "log2",
    "maximum", "minimum", "relu", "round", "selu", "sigmoid", "sign", "sin", "softplus", "softsign", "sqrt",
    "stop_gradient", "swish", "tanh", "where",
)  # fmt: skip

#: Special methods, without their underscores, of operations that equations may use.
SUPPORTED = (
    "add radd sub rsub mul rmul truediv rtruediv neg pos pow rpow abs round lt le gt ge array_ufunc array_function"
)
#: Special methods of all others, and the end of their error.
UNSUPPORTED = {
    "eq ne": "compares with == or !=, which rounding makes a matter of luck; write <, <=, > or >=",
    "bool": (
        "decides with `if`, `and`, `or`, `not`, min(), max() or a < b < c on a value that is known only when the "
        "kernel runs; write nblstm.where(condition, a, b), nblstm.minimum or nblstm.maximum"
    ),
    "float int index complex trunc floor ceil": (
        "passes a traced value to a function that wants a number (math.exp and its like); "
        f"use the function of the same name from nblstm, which has {', '.join(FUNCTIONS)}"
    ),
    "getitem setitem delitem len iter reversed contains": (
        "uses a value as if it had elements, but a cell sees one unit of one sequence, a loss one number, a scalar; "
        "use operators, and the functions that nblstm exports"
    ),
    "and rand or ror xor rxor invert": (
        "joins conditions with &, |, ^ or ~; write nblstm.where within nblstm.where, or multiply comparisons"
    ),
    "mod rmod floordiv rfloordiv divmod rdivmod matmul rmatmul lshift rlshift rshift rrshift": (
        "uses %, //, @, << or >> on a traced value; use + - * / ** and the functions that nblstm exports"
    ),
    "array": (
        "makes a NumPy array of a value, but a cell sees one unit of one sequence, a loss one number, a scalar; "
        "use operators, and the functions that nblstm exports"
    ),
}


def set_operations(cls: type, operations: str, method: Callable) -> None:
    """Set one method of a class for several operations, named as in `UNSUPPORTED`."""
    for operation in operations.split():
        setattr(cls, f"__{operation}__", method)


def raising(message: str) -> Callable:
    """A method that raises `CellError`."""

    def unsupported(self, *others, **options):
        raise CellError(message)

    return unsupported
