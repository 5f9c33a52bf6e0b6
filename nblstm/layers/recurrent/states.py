"""States of a recurrent layer: those that a batch starts with, given by a user or carried over from the batch before.

They are one list for all directions: an array (B, H) for each of the layer's ``_directions.state_units``. A stateful
layer keeps those that the next batch starts with in ``_carried``; these arrays are never written to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nblstm.arguments import validate

if TYPE_CHECKING:
    from nblstm.layers.recurrent.bidirectional import Bidirectional
    from nblstm.layers.recurrent.recurrent import Recurrent


def carried_states(layer: Recurrent | Bidirectional) -> list[np.ndarray] | None:
    """Copies of the states that the next batch starts with; None for the initial ones."""
    return None if layer._carried is None else [state.copy() for state in layer._carried]


def set_carried_states(layer: Recurrent | Bidirectional, states=None) -> None:
    """Set the states that the next batch starts with, to the initial ones if not given.

    Raises
    ------
    TypeError, ValueError
        If the layer is not stateful, or they do not fit.
    """
    if not layer.stateful:
        raise ValueError(f"{layer._label} keeps no states; make it with stateful=True")
    if states is None:
        layer._carried = None
        return
    first = states[0] if isinstance(states, list | tuple) and states else states
    B = _fixed_batch_size(layer) or len(np.atleast_1d(validate.number_array("states", first)))
    layer._carried = [state.copy() for state in _checked(layer, "states", states, B)]


def initial_states(layer: Recurrent | Bidirectional, B: int, given=None) -> list[np.ndarray] | None:
    """Return the states that a batch starts with: given, or carried over; None for the initial ones.

    Raises
    ------
    TypeError, ValueError
        If what is given does not fit, or a stateful layer has another batch size.
    """
    if layer.stateful:
        declared = _fixed_batch_size(layer)
        fixed = declared if layer._carried is None else len(layer._carried[0])
        if fixed not in (None, B):
            reset_too = "" if declared else ", or call reset_states() first"
            raise ValueError(
                f"{layer._label} is stateful with a batch size of {fixed} and got {B} sequences; give batches of "
                f"that size{reset_too}"
            )
    return layer._carried if given is None else _checked(layer, "initial_state", given, B)


def state_array(layer: Recurrent | Bidirectional, label: str, value, B: int, H: int) -> np.ndarray:
    """A state, or the gradient of one, as an array (B, H) of the layer's dtype."""
    return validate.shaped(label, validate.real_array(label, value, layer.dtype), (B, H), "(B, H)")


def _fixed_batch_size(layer: Recurrent | Bidirectional) -> int | None:
    """The batch size that a stateful layer was built or declared with."""
    for shape in (layer.input_shape, layer.batch_input_shape):
        if shape is not None and shape[0] is not None:
            return shape[0]
    return None


def _checked(layer: Recurrent | Bidirectional, label: str, states, B: int) -> list[np.ndarray]:
    units = layer._directions.state_units
    if len(units) == 1 and not (isinstance(states, list | tuple) and len(states) == 1):
        states = [states]
    if not isinstance(states, list | tuple) or len(states) != len(units):
        raise ValueError(
            f"{label} is {validate.came(states)}; give a list of {len(units)} ({', '.join(units)}), each (B, H)"
        )
    return [
        state_array(layer, f"{label} {name!r}", state, B, H)
        for (name, H), state in zip(units.items(), states, strict=True)
    ]
