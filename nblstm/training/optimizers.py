"""Optimizers: each updates whole modules, one loop over each one's flat buffer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nblstm.nn import Gradients, Module


class Adam:
    """Adaptive moment estimation, with Keras's names and defaults.

    ::

        m = beta_1 m + (1 - beta_1) g
        v = beta_2 v + (1 - beta_2) g**2
        p = p - learning_rate sqrt(1 - beta_2**t) / (1 - beta_1**t) m / (sqrt(v) + epsilon)

    Parameters
    ----------
    modules : sequence of Module
        What is trained.
    learning_rate : float, default 0.001
        May be changed between steps.
    beta_1, beta_2 : float, default 0.9 and 0.999
    epsilon : float, default 1e-7

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    References
    ----------
    D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015: the form before section 2.1.
    """

    def __init__(
        self, modules: Sequence[Module], learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ):  # fmt: skip
        self.modules = [modules] if isinstance(modules, Module) else list(modules)
        if not self.modules or not all(isinstance(module, Module) for module in self.modules):
            kinds = ", ".join(type(module).__name__ for module in self.modules) or "nothing"
            raise TypeError(f"modules has {kinds}; give the networks to train, such as [lstm, readout]")
        for name, value, low, high in (
            ("learning_rate", learning_rate, 0, np.inf), ("beta_1", beta_1, 0, 1), ("beta_2", beta_2, 0, 1),
            ("epsilon", epsilon, 0, np.inf),
        ):  # fmt: skip
            if not (isinstance(value, int | float) and low <= value < high):
                raise ValueError(f"{name} is {value!r}; give a number from {low} up to, not including, {high}")
        self.learning_rate, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon
        self.iterations = 0
        self._m = [np.zeros_like(module.flat_parameters()) for module in self.modules]
        self._v = [np.zeros_like(module.flat_parameters()) for module in self.modules]

    def step(self, gradients: Sequence[Gradients]) -> None:
        """Update all modules.

        Parameters
        ----------
        gradients : sequence of Gradients
            One per module, in the same order.

        Raises
        ------
        ValueError
            If they do not fit the modules; then nothing has been changed.
        """
        gradients = [gradients] if isinstance(gradients, Gradients) else list(gradients)
        came = [g.flat.shape for g in gradients]
        needed = [m.shape for m in self._m]
        if came != needed:
            raise ValueError(f"gradients have {came} numbers; the modules have {needed}, in that order")
        self.iterations += 1
        correction = np.sqrt(1 - self.beta_2**self.iterations) / (1 - self.beta_1**self.iterations)
        for module, g, m, v in zip(self.modules, gradients, self._m, self._v, strict=True):
            m += (g.flat - m) * m.dtype.type(1 - self.beta_1)
            v += (np.square(g.flat) - v) * v.dtype.type(1 - self.beta_2)
            step = m / (np.sqrt(v) + v.dtype.type(self.epsilon))
            parameters = module.flat_parameters()
            parameters -= step * m.dtype.type(self.learning_rate * correction)
