"""Functions of one number inside users' ``@njit`` functions, by overloads: the code that kernels have.

An overload is emitted from the graph that tracing the function gives, as kernels are. Its numbers are float32 if all
arguments are, else float64.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache

from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from nblstm.codegen.scalar import scalar_functions
from nblstm.codegen.target import inlined_for_users
from nblstm.numba_extension.stamp import Stamp, stamping
from nblstm.symbolic import functions
from nblstm.symbolic.emit import emit_function, functions_from
from nblstm.symbolic.graph import Value
from nblstm.symbolic.tracing import trace_function

#: Options of an overload: it disappears into the user's function, whose loops become vector code.
OPTIONS = {"forceinline": True, "fastmath": {"contract"}, "error_model": "numpy", "boundscheck": False}

#: All that `nblstm` exports, and the activations beside them.
FUNCTIONS = {name: getattr(functions, name) for name in (*functions.__all__, *functions.ACTIVATIONS)}


def dtype_of(whose: str, kinds: Iterable[types.Type]) -> str:
    """The dtype in which equations are computed: float32 if all arguments' types are, else float64."""
    kinds = list(kinds)
    for kind in kinds:
        if isinstance(kind, types.Array):
            raise TypingError(
                f"{whose} got {kind}, and computes one number at a time; call it in a loop over the array's numbers"
            )
        if not isinstance(kind, types.Float | types.Integer | types.Boolean):
            raise TypingError(f"{whose} got {kind}; give real numbers: floats, integers or booleans")
    return "float32" if all(kind == types.float32 for kind in kinds) else "float64"


def scope_of(dtype: str, stamp: Stamp) -> dict:
    """Names that emitted source uses."""
    return {
        **scalar_functions(dtype, inlined_for_users), "inlined": inlined_for_users, "real": getattr(types, dtype),
        "new_stamp": stamping(stamp), "__name__": __name__,
    }  # fmt: skip


@cache
def compilable(name: str, dtype: str) -> Callable:
    """A function of nblstm for Numba to compile, from numbers of any type to one of ``dtype``."""
    signature = inspect.signature(FUNCTIONS[name])
    arguments = [*signature.parameters]
    cast = [f"real({argument})" for argument in arguments]
    if name == "where":
        # Its condition is no number, and as a symbol no comparison, which `where` would ask for.
        inputs = [Value("input", argument) for argument in arguments]
        results, cast[0] = [Value("where", *inputs)], arguments[0]
    else:
        inputs, results = trace_function(f"nblstm.{name}", FUNCTIONS[name], arguments)
    # With names of its own: Numba's linker takes functions of equal names for equal ones.
    own = f"nblstm_{name}_{dtype}"
    plain = signature.replace(parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()])
    known = dict(zip(inputs, arguments, strict=True))
    source = (
        f"@inlined\n{emit_function(f'{own}_equations', arguments, known, [('y', results[0])])}\n\n"
        f"def {own}{plain.replace(return_annotation=plain.empty)}:\n"
        f"    new_stamp()\n    return {own}_equations({', '.join(cast)})[0]\n"
    )
    return functions_from(source, f"function {name}, {dtype}", scope_of(dtype, Stamp()))[own]


def _register(name: str) -> None:
    signature = inspect.signature(FUNCTIONS[name])

    @overload(FUNCTIONS[name], jit_options=OPTIONS, strict=False)
    def typed(*positional, **named):
        try:
            kinds = signature.bind(*positional, **named).arguments
        except TypeError as error:
            raise TypingError(f"nblstm.{name}{signature.replace(return_annotation=signature.empty)}: {error}") from None
        condition = [kinds.pop("condition")] if name == "where" else []
        dtype_of(f"nblstm.{name}", condition)  # which has no part in the result's
        return compilable(name, dtype_of(f"nblstm.{name}", kinds.values()))


for _name in FUNCTIONS:
    _register(_name)
