"""The learning rate as Keras's programs see it: a number that can be assigned to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

#: A number, a function of the step, or what a schedule was saved as.
LearningRateLike: TypeAlias = float | Callable[[int], float] | dict[str, Any]


class LearningRate(float):
    """The learning rate of an optimizer's next step, a number, with the methods of Keras's variable."""

    _optimizer: Any

    def assign(self, value: float) -> None:
        """Set the optimizer's learning rate."""
        self._optimizer.learning_rate = value

    def numpy(self) -> np.float64:
        """The number, as NumPy's."""
        return np.float64(self)

    def __reduce__(self):
        """For copies and pickle: a number alone."""
        return float, (float(self),)
