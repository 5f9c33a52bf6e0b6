"""Equations of losses, traced as those of cells are; the gradient is derived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.equations import traced_function
from nblstm.symbolic.graph import ONE, Value


@dataclass(frozen=True, eq=False)
class LossEquation:
    """What a predicted number p is worth beside its target t: ``value(t, p)``.

    Attributes
    ----------
    name : str
        What kernels are called by.
    value : callable
    fractions : bool
        Targets are numbers from 0 to 1; beside another, a prediction is worth NaN.
    """

    name: str
    value: Callable
    fractions: bool = False

    @cached_property
    def traced(self) -> tuple[list[Value], list[Value]]:
        """The inputs p and t; the value and its derivative by p."""
        inputs, [value] = traced_function(f"the loss {self.name!r}", self.value, ["t", "p"], 1)
        t, p = inputs
        return [p, t], [value, *gradients([value], [ONE], [p])]
