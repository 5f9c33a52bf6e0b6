"""Truncated backpropagation through time: long sequences in chunks, the states carried on and the gradients cut."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import numpy as np


def check(model) -> None:
    """Refuse layers that mix steps in another way than from the past to the future.

    Raises
    ------
    ValueError
        If there is one.
    """
    for layer in model.layers:
        if not layer.keeps_steps_apart:
            raise ValueError(
                f"bptt_steps needs layers whose output at a step depends on this step and those before it, and "
                f"{layer.name!r} ({type(layer).__name__}) is none; leave bptt_steps out, or give recurrent layers "
                "return_sequences=True"
            )


def chunks(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, steps: int):
    """Parts of a batch of sequences, ``steps`` long and the last maybe shorter; a weight per row goes with each.

    Raises
    ------
    ValueError
        If there is not one target for each step.
    """
    T = x.shape[1]
    if y.ndim < 2 or y.shape[1] != T:
        raise ValueError(f"bptt_steps needs a target for each step, and y has shape {y.shape} for {T} steps in x")
    per_step = weight is not None and weight.ndim > 1
    for start in range(0, T, steps):
        part = slice(start, start + steps)
        yield x[:, part], y[:, part], weight[:, part] if per_step and weight is not None else weight


@contextmanager
def carried_states(model):
    """Have recurrent layers begin where they ended; those that are not stateful begin anew with the first chunk."""
    with ExitStack() as after:
        for layer in model.layers:
            if hasattr(layer, "reset_states") and not layer.stateful:
                after.callback(_stop_carrying, layer)
                layer.stateful = True
                layer.reset_states()
        yield


def _stop_carrying(layer) -> None:
    layer.reset_states()
    layer.stateful = False
