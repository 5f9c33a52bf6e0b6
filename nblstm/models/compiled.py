"""Answers to ``model.compiled``, and steppers: what a model is, after training, for a program that steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nblstm.models.stepping import ModelStepper
    from nblstm.numba_extension.compiled_network import CompiledNetwork


class Compiled:
    """Value of ``model.compiled``: true after ``compile()``, as in Keras; and called, it compiles the model's steps."""

    def __init__(self, model: Any):
        self._model = model

    def __bool__(self):
        return self._model.objective is not None

    def __eq__(self, other):
        return bool(self) == other if isinstance(other, bool | Compiled) else NotImplemented

    def __hash__(self):
        return hash(bool(self))

    def __repr__(self):
        return repr(bool(self))

    def __call__(self, batch_size: int = 1) -> CompiledNetwork:
        """Make a value of the model for functions under `numba.njit`, with its parameters as they are now.

        Such a function takes it as an argument and steps with it: ``s = net.zero_state()``, ``y = net.step(x, s)``.

        Parameters
        ----------
        batch_size : int, default 1
            Rows (B) that step together.

        Returns
        -------
        CompiledNetwork
            What is random in training is not in it. On the CPU, whichever device the model is on.

        Raises
        ------
        ValueError
            If the model is not built, or has a layer that needs more than one step; such as none of recurrent layers
            that read forwards, Dense, Activation and others of activations, Embedding (as the first), normalizations
            and Dropout.
        """
        from nblstm.models.stepping import compiled_model

        return compiled_model(self._model, batch_size)


def stepper(model: Any, batch_size: int = 1) -> ModelStepper:
    """One step at a time, the states staying inside: for streaming and sampling.

    Parameters
    ----------
    batch_size : int, default 1
        Rows (B) that step together.

    Returns
    -------
    ModelStepper
        Called with inputs (B, I), or (I,) for one row, it returns the outputs (B, O) or (O,).

    Raises
    ------
    ValueError
        As for ``model.compiled()``.
    """
    from nblstm.models.stepping import ModelStepper

    return ModelStepper(model, batch_size)
