"""Tracing: equations run on symbols, and their results are expressions."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from numbers import Real

from nblstm.arguments import validate
from nblstm.symbolic import functions
from nblstm.symbolic.graph import CellError, Value, as_value

#: How often equations are run, to find random numbers and counters in them: a fair coin falls the same way 8 times in a
#: row once in 128.
RUNS = 8

#: Exceptions that mean that equations cannot be traced. Others pass through, as a time limit of a signal's handler.
MISTAKES = ArithmeticError, AssertionError, LookupError, NameError, RecursionError, TypeError, ValueError


def trace(whose: str, run: Callable[[], list[Value]], times: int = RUNS) -> list[Value]:
    """Run equations on symbols, several times.

    Parameters
    ----------
    whose : str
        Beginning of errors, such as ``"cell 'lstm'"``.
    run : callable
        Runs the equations once.
    times : int

    Raises
    ------
    CellError
        If they cannot be run on symbols, or their results differ from run to run.
    """
    try:
        results = run()
        for _ in range(times - 1):
            again = run()
            # Equal expressions are one object.
            if any(one is not other for one, other in zip(results, again, strict=True)):
                raise CellError(
                    "computes something else each time it runs on symbols, as with a random number, the time or a "
                    "counter; kernels would keep the value of one run for ever, so draw in a cell by nblstm.noise, and "
                    "give it what else changes as a signal"
                )
    except CellError as error:
        raise CellError(f"{whose} {error}") from None
    except AttributeError as error:
        raise CellError(f"{whose} {_attribute(error) if isinstance(error.obj, Value) else _message(error)}") from error
    except MISTAKES as error:
        raise CellError(f"{whose} {_message(error)}") from error
    return results


def trace_function(
    whose: str, equations: Callable, names: Sequence[str], results: int = 1, times: int = RUNS
) -> tuple[list[Value], list[Value]]:
    """Trace a function of scalars: the symbols of its arguments, and its results.

    Parameters
    ----------
    whose : str
        Beginning of errors.
    equations : callable
        From scalars to a scalar or several.
    names : sequence of str
        Of its arguments.
    results : int
        How many scalars it has to return.
    times : int
        How often it is run, as for `trace`.
    """
    inputs = [Value("input", name) for name in names]

    def run() -> list[Value]:
        values = scalars(equations(*inputs))
        if len(values) != results:
            raise CellError(f"returns {len(values)} values for {', '.join(names)}; return {results}")
        return values

    return inputs, trace(whose, run, times)


def scalars(results) -> list[Value]:
    """Results of equations, a value or several, as a list of expressions."""
    results = results if isinstance(results, tuple | list) else (results,)
    if not all(isinstance(result, Value | Real) for result in results):
        kinds = ", ".join(type(result).__name__ for result in results)
        raise CellError(f"returns {kinds}; return scalars computed from its arguments")
    return [as_value(result) for result in results]


def _message(error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if _is_of_arguments(error):
        return f"calls a function with a wrong argument: {reason}"
    return f"could not be traced ({reason}); use operators, and the functions that nblstm exports, on its arguments"


def _is_of_arguments(error: Exception) -> bool:
    """Say if an error is of a check of arguments, nblstm's or Python's: it says by itself what was needed."""
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    module = innermost.f_globals.get("__name__") or ""
    if module.startswith("nblstm."):
        return module == validate.__name__
    return isinstance(error, TypeError) and bool(re.match(r"(?!Value\.)[\w.<>]+\(\) (got|missing|takes) ", str(error)))


def _attribute(error: AttributeError) -> str:
    """End of the error of ``c.mean`` and its like: what to write instead."""
    known = error.name in functions.__all__
    instead = f"write nblstm.{error.name}(x)" if known else "use operators, and the functions that nblstm exports"
    seen = "a cell sees one unit of one sequence, a loss one number, a scalar"
    return f"takes .{error.name} of a value, but {seen}; {instead}"
