"""An optimizer's state as the variables that Keras's optimizers have: the step, the learning rate, and the slots."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.training.optimizers import Optimizer, RMSprop

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential

#: Words in the names of slots, in Keras 1 to 3.
SLOTS = {"m", "v", "vhat", "momentum", "velocity", "rms", "hat", "accumulator", "average", "norm", "u", "mg"}


def trained(model: Sequential) -> list[tuple[int, str]]:
    """Places of the parameters that are trained, in Keras's order: the module's index, and the parameter's name."""
    optimizer: Any = model.optimizer
    return [
        (k, name) for k, layer in enumerate(optimizer.modules) if layer.trainable
        for name, parameter in layer.described.items() if getattr(parameter, "trainable", True)
    ]  # fmt: skip


def order(optimizer: Optimizer, count: int) -> list[tuple[str, int]]:
    """Slot and parameter of each of Keras 3's variables, for so many parameters.

    The slots of a parameter stand together, but for those of RMSprop, and for what amsgrad adds.
    """
    names = optimizer.slot_names()
    apart = names if isinstance(optimizer, RMSprop) else [name for name in names if name == "velocity_hat"]
    together = [(name, k) for k in range(count) for name in names if name not in apart]
    return together + [(name, k) for name in apart for k in range(count)]


def variables(model: Sequential) -> dict[str, np.ndarray]:
    """The optimizer's variables by name, in Keras 3's order."""
    optimizer: Any = model.optimizer
    state, places = optimizer.state(), trained(model)
    found = {"iteration": np.array(state["iterations"], np.int32)}
    if "learning_rate" in state:
        found["learning_rate"] = np.array(state["learning_rate"], np.float32)
    for slot, j in order(optimizer, len(places)):
        k, name = places[j]
        layer = optimizer.modules[k]
        found[f"{layer.name}_{name}_{slot}"] = layer._layout.views(state[f"{slot}/{k}"])[name]
    if optimizer.record()["class_name"] == "Nadam":
        found["u_product"] = np.array(product_of_momenta(optimizer.beta_1, optimizer.iterations), np.float32)
    return found


def product_of_momenta(beta_1: float, steps: int) -> float:
    """The product of ``u(t) = beta_1 (1 - 0.96**t / 2)`` for all steps: Keras's Nadam keeps it, it follows from t."""
    product, t = 1.0, 0
    while t < steps and product > 0:
        t += 1
        product *= beta_1 * (1 - 0.5 * 0.96**t)
    return product


def state(model: Sequential, names: list[str], arrays: list[np.ndarray]) -> dict[str, np.ndarray] | None:
    """The state, as `load_state` takes it, that variables tell of; None if they are not those of this optimizer.

    Names are empty where the file has none.
    """
    optimizer: Any = model.optimizer
    scalars = [array for array in arrays[:2] if array.ndim == 0]
    names = [name for name, array in zip(names, arrays, strict=False) if array.ndim]
    rest = [array for array in arrays if array.ndim]
    made = optimizer.state()
    if not scalars or scalars[0].dtype.kind not in "iuf":
        return None
    made["iterations"] = np.array(int(scalars[0]), np.int64)
    # The variable is of float32. Where the configuration, which has made the optimizer, has it in all digits, it stays.
    if len(scalars) == 2 and "learning_rate" in made and np.float32(made["learning_rate"]) != scalars[1]:
        made["learning_rate"] = np.array(float(scalars[1]), np.float64)
    places = trained(model)
    slots = len(optimizer.slot_names())
    while len(rest) == (slots + 1) * len(places) and not any(prod(a.shape) > 1 for a in rest[slots * len(places) :]):
        rest = rest[: slots * len(places)]  # Keras 2's place for what amsgrad would have added
    if not slots:
        return made
    if len(rest) != slots * len(places):
        return None
    for slot_of in _orders(optimizer, len(places), names):
        wanted = [optimizer.modules[places[j][0]]._layout.shapes[places[j][1]] for _, j in slot_of]
        if [array.shape for array in rest] == wanted:
            for (slot, j), array in zip(slot_of, rest, strict=True):
                k, name = places[j]
                optimizer.modules[k]._layout.views(made[f"{slot}/{k}"])[name][...] = array
            return made
    return None


def _orders(optimizer: Optimizer, count: int, names: list[str]) -> list[list[tuple[str, int]]]:
    """Orders in which the slots may stand: Keras 3's, or as in old files each slot's for all parameters."""
    by_slot = [(slot, k) for slot in optimizer.slot_names() for k in range(count)]
    words = [SLOTS & set(re.split(r"[/_:.]", name)) for name in names[:2]]
    old = len(words) == 2 and words[0] == words[1]
    return [by_slot, order(optimizer, count)] if old else [order(optimizer, count), by_slot]
