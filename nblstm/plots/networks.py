"""Networks in the form in which they are drawn: a layer of Keras's name, or one of a model, as a network of `nn`."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from nblstm import layers
from nblstm.arguments import validate
from nblstm.models import Sequential, data
from nblstm.nn import Recurrent


def as_network(module: Any) -> Recurrent:
    """Return a network of `nn` itself, or one with the parameters of a layer.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or a layer that is not built, or has a network for each direction.
    """
    if isinstance(module, Recurrent):
        return module
    if not isinstance(module, layers.Recurrent | layers.Bidirectional):
        raise TypeError(
            f"network is {module!r}; give a network of nblstm.nn, such as nn.LSTM(3, 16), or a recurrent layer"
        )
    if not module.built:
        raise ValueError(f"layer {module.name!r} is not built; call build((None, None, I)), or apply it to data first")
    if isinstance(module, layers.Bidirectional) and module._directions.D == 1:
        raise ValueError(
            f"the directions of layer {module.name!r} are of different cells or sizes; give one of them, its "
            "forward_layer or backward_layer"
        )
    plan = module._network
    own = plan.layout.views(module._flat)
    made = Recurrent(
        plan.cell, plan.input_size, plan.hidden_size, bias=any(name.startswith("bias_") for name in own),
        batch_first=True, bidirectional=plan.D == 2, reverse=plan.directions == (True,), dtype=plan.dtype,
        learn_initial_state=plan.learn_initial_state, device=plan.device, seed=0,
    )  # fmt: skip
    state = {}
    for name, value in made.state_dict().items():
        given = own.get(name, np.zeros_like(value))  # Keras's layers have one bias
        if name.startswith(("weight_", "bias_")):
            fed = plan.cell.input_gates if "_ih" in name else plan.cell.recurrent_gates
            theirs = [gate for gate in plan.gates or fed if gate in fed]
            order = [theirs.index(gate) for gate in fed]
            given = given.reshape(len(fed), -1, *given.shape[1:])[order].reshape(given.shape)
        state[name] = given
    made.load_state_dict(state)
    return made


def layer_and_input(model: Sequential, x, layer: int | str, mask=None) -> tuple[Any, np.ndarray, Any]:
    """Find a recurrent layer of a model, by its name or its number among them; with its input and mask.

    Stateful layers begin with their initial states.
    """
    model._need_built()
    if model._stateful:
        model = copy.deepcopy(model)  # whose layers may carry on what comes
        model.reset_states()
    found = {each.name: each for each in model.layers if isinstance(each, layers.Recurrent | layers.Bidirectional)}
    names = list(found)
    if not names:
        raise ValueError(f"the model {model.name!r} has no recurrent layer; give one that has")
    name = layer if isinstance(layer, str) else names[place("layer", layer, len(names))]
    if name not in found:
        raise ValueError(f"layer is {validate.unknown(name, names)}")
    x = data.converted(model, x)
    for each in model.layers:
        if each is found[name]:
            break
        y = each(x, mask=mask)
        mask = each.compute_mask(x, mask)
        x = y
    return found[name], x, mask


def place(name: str, value, count: int) -> int:
    """An index among ``count`` things as a number from 0 on; negative ones count from the end."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}; give a whole number, from 0 to {count - 1}")
    if not -count <= value < count:
        raise ValueError(
            f"{name} is {value}; there {'is' if count == 1 else 'are'} {count}, so give 0"
            + f" to {count - 1}" * (count > 1)
        )
    return int(value) % count
