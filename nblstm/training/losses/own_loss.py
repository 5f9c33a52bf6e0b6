"""Losses of the user's own, each from its equation of one target: the decorator `loss`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cached_property
from numbers import Real
from typing import Any

from nblstm.arguments import custom, validate
from nblstm.symbolic import as_text
from nblstm.symbolic.elementwise import LossEquation
from nblstm.symbolic.emit import emit_function
from nblstm.symbolic.graph import Value, topological
from nblstm.symbolic.importable import imported, is_found_elsewhere
from nblstm.symbolic.tracing import RUNS, trace_function
from nblstm.symbolic.unsupported import CellError
from nblstm.training.losses.base_loss import REDUCTIONS, Loss
from nblstm.training.targets import target_of_outputs


def loss(
    equation: Callable | None = None, *, outputs: str | None = None, reduction: str = "sum_over_batch_size",
    name: str | None = None,
) -> Any:  # fmt: skip
    """Make a loss of the equation of one number; its gradient is derived, and both are compiled.

    The function takes a target and its prediction, both scalars, and returns the loss, by operators and the functions
    that `nblstm` exports. It runs on symbols, a few times: what it reads from elsewhere, such as a variable, counts as
    it was then. An argument with a default, which is a number, is a parameter of the loss: `OwnLoss.replace` gives
    the loss with another number, and files have the number.

    Parameters
    ----------
    equation : callable
    outputs : str, optional
        Names of the predictions of each target, separated by spaces, where they are several, such as a mean and a
        scale: arguments behind the target, or all that ``*`` collects. Columns of a target lie side by side:
        predictions (..., K n) of targets (..., K) are ``y_pred.reshape(..., K, n)``, as for `Quantile`.
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"}
        As in `Loss`.
    name : str, optional
        That of the function if not given.

    Returns
    -------
    OwnLoss
        For ``model.compile(loss=...)``, for metrics, and by `Loss.value_and_gradient` for loops of your own; without
        an equation, the decorator that makes it.

    Raises
    ------
    CellError
        If arguments and ``outputs`` do not fit together. What the equation does is checked when it is traced, at the
        latest by ``model.compile``.

    Examples
    --------
    >>> import nblstm
    >>> @nblstm.loss
    ... def pinball(y_true, y_pred, q=0.5):
    ...     return nblstm.maximum(q * (y_true - y_pred), (q - 1) * (y_true - y_pred))
    >>> pinball.replace(q=0.9)([3.0, 3.0], [1.0, 4.0])
    0.95
    >>> @nblstm.loss(outputs="mean scale")
    ... def gaussian(y_true, mean, scale):
    ...     s = nblstm.softplus(scale) + 1e-3
    ...     return nblstm.log(s) + ((y_true - mean) / s) ** 2 / 2
    """

    def decorate(equation: Callable) -> OwnLoss:
        return OwnLoss(equation, outputs, reduction, name)

    return decorate if equation is None else decorate(equation)


class OwnLoss(Loss):
    """A loss by the equation of one target, as the decorator `nblstm.loss`, whose arguments it takes, makes it.

    Attributes
    ----------
    outputs : tuple of str
        Names of the predictions of each target.
    parameters : dict of str to float
    place : tuple of str
        Module and qualified name of the function where it was defined.
    """

    def __init__(
        self, equation: Callable, outputs: str | None = None, reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ):  # fmt: skip
        if not callable(equation):
            raise CellError(f"loss() decorates {equation!r}; put it above a function of y_true and y_pred, scalars")
        given = name or getattr(equation, "__name__", None)
        if not (isinstance(given, str) and given.isprintable()):
            raise CellError(f"name of the loss is {given!r}; give a string, as in nblstm.loss(..., name='mine')")
        super().__init__(reduction, given)
        self.equations = equation
        self.outputs, self.parameters = _arguments_of(f"the loss {given!r}", equation, outputs)
        self.place = getattr(equation, "__module__", ""), getattr(equation, "__qualname__", given)
        self.__doc__ = equation.__doc__
        self._first = self

    def replace(self, *, reduction: str | None = None, name: str | None = None, **parameters: float) -> OwnLoss:
        """The same loss with another reduction, name, or parameters.

        Raises
        ------
        TypeError, ValueError
            If the equation has no such parameter, or it is no number.
        """
        wrong = [parameter for parameter in parameters if parameter not in self.parameters]
        if wrong:
            known = validate.unknown(wrong[0], [*self.parameters, "reduction", "name"])
            raise TypeError(f"the loss {self._first.name!r} got the unknown parameter {known}")
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.pop("_traced", None)
        made.__dict__.pop("_equation", None)
        if reduction is not None:
            made.reduction = validate.choice("reduction", reduction, REDUCTIONS)
        made.name = name or self.name
        made.parameters = self.parameters | {
            parameter: validate.number(parameter, value) for parameter, value in parameters.items()
        }
        return made

    def value(self, y_true, *outputs):
        """The equation, of scalars: traced values, or plain numbers."""
        return self.equations(y_true, *outputs, **self.parameters)

    def equation(self) -> LossEquation:
        """The equation of one target, with the parameters as they are."""
        return self._equation

    def check_equation(self) -> None:
        """Raise CellError if the equation cannot be traced, or has changed since it was."""
        before = self._traced
        if self._trace(1) is not before:
            raise CellError(
                f"the loss {self.name!r} computes something else than when it was first used, as its equation reads a "
                "variable that has changed; make the variable a parameter, an argument with a default, or define the "
                "loss anew"
            )

    def target(self, target, prediction, mask):
        """The targets (B, ..., K) of predictions (B, ..., K n)."""
        n = len(self.outputs)
        if n == 1:
            return super().target(target, prediction, mask)
        target = validate.real_array("y_true", target, prediction.dtype)
        return target_of_outputs(target, prediction.shape, n, f"{n} outputs, {' '.join(self.outputs)},"), mask

    def get_config(self) -> dict[str, Any]:
        """The parameters, the reduction and the name, for `replace`."""
        return {**self.parameters, "reduction": self.reduction, "name": self.name}

    def record(self) -> dict[str, Any]:
        """The name under which files refer to the equation, and what `replace` needs beside it."""
        first = self._first
        try:
            return {"class_name": custom.name_of(first, first.name, _alike), "config": self.get_config()}
        except TypeError:
            raise TypeError(
                f"the loss {first.name!r} is your own and cannot be saved; give it a name like that of a function, as "
                "in nblstm.loss(..., name='mine')"
            ) from None

    def __repr__(self):
        parameters = "".join(f", {name}={value!r}" for name, value in self.parameters.items())
        return f"<loss {self.name} of y_true, {', '.join(self.outputs)}{parameters}>"

    def __copy__(self) -> OwnLoss:
        return self

    def __deepcopy__(self, memo) -> OwnLoss:
        return self

    def __reduce__(self):
        """By the name of the variable that holds the loss, if any process can import it; else by its equation."""
        first = self._first
        if is_found_elsewhere(first, first.place):
            return _by_name, (*first.place, self.get_config())
        if first._text is None:
            raise TypeError(
                f"the loss {first.name!r} cannot be pickled by its equation, which needs the numbers of its "
                "parameters, as for an `if` or math.exp; define it in a module that can be imported"
            )
        declared = first._declared
        as_text.remember(declared, first)
        return _by_value, (declared, first.place, self.__doc__, self.get_config())

    @cached_property
    def _equation(self) -> LossEquation:
        """The equation as kernels take it; it has been traced."""
        assert self._traced is not None
        return LossEquation(self.name, self.value, outputs=len(self.outputs))

    @cached_property
    def _traced(self) -> Value:
        """The loss of a target as an expression."""
        return self._trace(RUNS)

    def _trace(self, times: int) -> Value:
        whose = f"the loss {self.name!r}"
        (_, *outputs), [value] = trace_function(whose, self.value, ["y_true", *self.outputs], times=times)
        used = {*topological([value])}
        for output, name in zip(outputs, self.outputs, strict=True):
            if output not in used:
                raise CellError(
                    f"{whose} does not depend on {name!r}, which no gradient would reach; use it, or leave it out"
                )
        return value

    @cached_property
    def _text(self) -> str | None:
        """The traced equation, parameters its last arguments, as the source of a function ``equations``.

        None if it needs the numbers of its parameters.
        """
        names, n = [f"new_{k}" for k in range(1 + len(self.outputs) + len(self.parameters))], 1 + len(self.outputs)

        def equations(*given):
            return self.equations(*given[:n], **dict(zip(self.parameters, given[n:], strict=True)))

        try:
            inputs, results = trace_function(f"the loss {self.name!r}", equations, names)
        except CellError:
            return None
        known = dict(zip(inputs, names, strict=True))
        return emit_function("equations", names, known, [("new_value", results[0])], as_text.DIALECT)

    @property
    def _declared(self) -> tuple:
        """All that tells this loss from others of the same place, if `_text` is not None."""
        return self.name, self.outputs, tuple(self.parameters.items()), self.reduction, self._text


def _by_name(module: str, name: str, config: dict[str, Any]) -> OwnLoss:
    """Import the loss."""
    return _configured(imported(OwnLoss, "a loss", module, name), config)


def _by_value(declared: tuple, place: tuple[str, str], doc: str | None, config: dict[str, Any]) -> OwnLoss:
    """The loss of this process with the same equation; else a new one."""
    first = as_text.known.get(declared)
    if first is None:
        name, outputs, parameters, reduction, text = declared
        found = as_text.equations_from(text, name)
        names = [parameter for parameter, _ in parameters]

        def equations(*scalars, **given):
            return found(*scalars, *[given[parameter] for parameter in names])

        first = OwnLoss.__new__(OwnLoss)
        Loss.__init__(first, reduction, name)
        first.equations, first.outputs, first.parameters, first.place = equations, outputs, dict(parameters), place
        first.__doc__, first._first = doc, first
    as_text.remember(declared, first)
    return _configured(first, config)


def _configured(first: OwnLoss, config: dict[str, Any]) -> OwnLoss:
    return first if first.get_config() == config else first.replace(**config)


def _alike(one, other) -> bool:
    """Say if two objects are one, or losses with the same equation, parameters' defaults and reduction."""
    if one is other or not (isinstance(one, OwnLoss) and isinstance(other, OwnLoss)):
        return one is other
    return one._text is not None and one._declared == other._declared


def _arguments_of(whose: str, equation: Callable, outputs: str | None) -> tuple[tuple[str, ...], dict[str, float]]:
    """Names of the outputs, and the parameters with their defaults."""
    try:
        arguments = [*inspect.signature(equation).parameters.values()]
    except (TypeError, ValueError):
        raise CellError(f"{whose} is {equation!r}, which does not tell its arguments; write a function") from None
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    first = [a.name for a in arguments if a.default is a.empty and a.kind in by_place]
    collects = any(a.kind is a.VAR_POSITIONAL for a in arguments)
    parameters = [a for a in arguments if a.name not in first and a.kind is not a.VAR_POSITIONAL]
    for a in parameters:
        if a.kind in (a.POSITIONAL_ONLY, a.VAR_KEYWORD) or a.default is a.empty or a.name in ("reduction", "name"):
            raise CellError(
                f"{whose} has the argument {a}; parameters have a name of their own and a default, as q=0.5"
            )
        if not isinstance(a.default, Real) or isinstance(a.default, bool) or not math.isfinite(a.default):
            raise CellError(
                f"{whose} has the parameter {a}; let its default be a finite number, or make the loss in a "
                "function that takes what is no number"
            )
        if collects and a.kind is a.POSITIONAL_OR_KEYWORD:
            raise CellError(f"{whose} has the parameter {a} before *; write it behind that")
    return _output_names(whose, first, collects, outputs), {a.name: float(a.default) for a in parameters}


def _output_names(whose: str, first: list[str], collects: bool, outputs: str | None) -> tuple[str, ...]:
    """Names of the outputs, which the arguments without a default have to fit: the target, and each output."""
    if outputs is None:
        if len(first) != 2 or collects:
            came = f"{', '.join(first) or 'none'}{', *' * collects}"
            raise CellError(
                f"{whose} has the arguments {came}, and needs y_true and y_pred; name several predictions of a target "
                "by outputs=, as in outputs='mean scale'"
            )
        if first[0] == "y_pred" or first[1] == "y_true":
            raise CellError(f"{whose} takes {', '.join(first)}; the order is y_true, y_pred")
        return (first[1],)
    names = tuple(outputs.split()) if isinstance(outputs, str) else ()
    if not names or not all(map(str.isidentifier, names)) or len({"y_true", *names}) <= len(names):
        raise CellError(
            f"{whose} has outputs={outputs!r}; give names in one string, each its own and none y_true, as 'mean scale'"
        )
    if (len(first) != 1) if collects else (tuple(first[1:]) != names):
        raise CellError(
            f"{whose} has the arguments {', '.join(first) or 'none'}{', *' * collects}; for outputs={outputs!r} it "
            f"needs y_true, {'*outputs' if collects else ', '.join(names)}"
        )
    return names
