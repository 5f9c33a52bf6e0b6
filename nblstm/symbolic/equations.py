"""Equations run on symbols: what each of their results is, as an expression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real

from nblstm.symbolic import functions
from nblstm.symbolic.graph import CellError, Value, as_value

#: How often equations are run. What a random number or a counter makes of them differs from run to run; a coin that is
#: tossed falls as often in a row once in 128 times.
RUNS = 8

#: What equations raise that cannot be run on symbols. Other exceptions are not about them, as a time limit that a
#: signal's handler raises in the middle.
MISTAKES = ArithmeticError, AssertionError, LookupError, NameError, RecursionError, TypeError, ValueError


def traced(whose: str, run: Callable[[], list[Value]], times: int = RUNS) -> list[Value]:
    """What equations come to, the same each time that they run.

    Parameters
    ----------
    whose : str
        Whom errors name.
    run : callable
        Runs the equations on symbols.
    times : int
        How often.

    Raises
    ------
    CellError
        If they cannot be run on symbols, or come to something else each time.
    """
    try:
        results = run()
        for _ in range(times - 1):
            again = run()
            # Equal expressions are one object.
            if any(one is not other for one, other in zip(results, again, strict=True)):
                raise CellError(
                    "computes something else each time it runs on symbols, as with a random number, the time or a "
                    "counter; kernels would keep the value of one run for ever, so pass what changes as a state, as "
                    "the mask of nblstm.cells.recurrent_dropout"
                )
    except CellError as error:
        raise CellError(f"{whose} {error}") from None
    except AttributeError as error:
        raise CellError(f"{whose} {_attribute(error) if isinstance(error.obj, Value) else _said(error)}") from error
    except MISTAKES as error:
        raise CellError(f"{whose} {_said(error)}") from error
    return results


def traced_function(
    whose: str, equations: Callable, names: Sequence[str], results: int
) -> tuple[list[Value], list[Value]]:
    """The symbols that a function of plain arguments is called with, and what it returns for them.

    Parameters
    ----------
    whose : str
        Whom errors name.
    equations : callable
        From scalars to a scalar or several.
    names : sequence of str
        Of its arguments.
    results : int
        How many scalars it returns.
    """
    inputs = [Value("input", name) for name in names]

    def run() -> list[Value]:
        values = scalars(equations(*inputs))
        if len(values) != results:
            raise CellError(f"returns {len(values)} values for {', '.join(names)}; return {results}")
        return values

    return inputs, traced(whose, run)


def scalars(results) -> list[Value]:
    """What equations returned, a value or several, as expressions."""
    results = results if isinstance(results, tuple | list) else (results,)
    if not all(isinstance(result, Value | Real) for result in results):
        kinds = ", ".join(type(result).__name__ for result in results)
        raise CellError(f"returns {kinds}; return scalars computed from its arguments")
    return [as_value(result) for result in results]


def _said(error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"could not be traced ({reason}); use operators, and the functions that nblstm exports, on its arguments"


def _attribute(error: AttributeError) -> str:
    """What to write instead of an attribute of a value, such as ``c.mean()``."""
    known = error.name in functions.__all__
    instead = f"write nblstm.{error.name}(x)" if known else "use operators, and the functions that nblstm exports"
    return f"takes .{error.name} of a value, but a cell sees one unit of one sequence, a scalar; {instead}"
