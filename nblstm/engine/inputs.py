"""Checks of what a recurrent network is given: one sentence for what does not fit, before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.batch import PackedBatch
from nblstm.buffers.masks import MaskedBatch
from nblstm.buffers.resets import ResetBatch
from nblstm.engine.network import Network


def checked_input(network: Network, x, lengths, mask, resets, hold: bool) -> tuple[Any, Any, bool]:
    """An input as an array of the network's dtype and device, its `Batch`, and whether it has a batch dimension."""
    arrays = network.backend.arrays
    x = arrays.real("x", x, network.dtype)
    if isinstance(lengths, PackedBatch):
        if resets is not None:
            raise ValueError("resets are given beside packed rows; give a padded x with lengths")
        return validate.shaped("x", x, (lengths.N, network.input_size), "(N, I)"), lengths, True
    order = "(B, T, I)" if network.batch_first else "(T, B, I)"
    if x.ndim not in (2, 3):
        raise ValueError(f"x has {x.ndim} dimensions, shape {x.shape}; give {order}, or (T, I) for one sequence")
    if x.shape[-1] != network.input_size:
        raise ValueError(
            f"x has {x.shape[-1]} features, shape {x.shape}; this network was made for input_size="
            f"{network.input_size}, so give {order} with I = {network.input_size}"
        )
    return x, checked_batch(network, x.shape[:-1], lengths, mask, resets, hold), x.ndim == 3


def checked_batch(network: Network, shape: tuple[int, ...], lengths, mask, resets, hold: bool) -> Any:
    """Arrange a batch; ``shape`` is that of the input without its features."""
    arrays = network.backend.arrays
    T, B = steps_and_sequences(network, (*shape, 0))
    if mask is not None:
        if lengths is not None:
            raise ValueError("lengths and mask are both given; give one, as a mask says which steps are valid")
        mask = time_major_flags(network, "mask", arrays.on_host(mask), shape, "counts")
        if mask.all():
            mask = None
    lengths = validate.lengths_array(arrays.on_host(lengths), B, T)
    if resets is not None:
        resets = time_major_flags(network, "resets", arrays.on_host(resets), shape, "begins with the initial states")
        if resets.any():
            return ResetBatch(resets, mask, lengths, hold, network.directions, arrays)
    return arrays.batch(T, B, lengths) if mask is None else MaskedBatch(mask, hold, network.directions[0], arrays)


def check_names(network: Network, signals) -> None:
    """Raise ValueError if the signals that are given are not those of the cell, by their names."""
    names, given = network.cell.signals, {} if signals is None else signals
    if not isinstance(given, Mapping) or set(given) != set(names):
        came = ", ".join(map(repr, given)) if isinstance(given, Mapping) else type(given).__name__
        wanted = f"a dict of arrays for {', '.join(map(repr, names))}" if names else "none, as the cell has none"
        raise ValueError(f"{f'signals has {came}' if came else 'no signals are given'}; give {wanted}")


def checked_signals(network: Network, signals, batch, batched: bool) -> list[Any]:
    """The signals of the cell as arrays (T, B) or (T, B, H), or packed rows, in the cell's order.

    Raises
    ------
    TypeError, ValueError
        If one is missing, unknown, or of another shape.
    """
    names, H, arrays = network.cell.signals, network.hidden_size, network.backend.arrays
    check_names(network, signals)
    T, B = batch.T, batch.B
    shape = (batch.N,) if not batch.padded else (T,) if not batched else (B, T) if network.batch_first else (T, B)
    meaning = "N" if not batch.padded else "T" if not batched else "B, T" if network.batch_first else "T, B"
    made = []
    for name in names:
        array = arrays.real(f"signals[{name!r}]", signals[name], network.dtype)
        if array.shape not in (shape, (*shape, H)):
            raise ValueError(
                f"signal {name!r} has shape {array.shape}; give ({meaning}), {shape}, or ({meaning}, H), {(*shape, H)}"
            )
        if batch.padded:
            array = array[:, None] if not batched else array.swapaxes(0, 1) if network.batch_first else array
        made.append(array)
    return made


def time_major_flags(network: Network, name: str, flags, shape: tuple[int, ...], verb: str) -> np.ndarray:
    """A mask or resets in the layout of x as an array (T, B)."""
    array = validate.plain_array(name, flags)
    if array.dtype.kind not in "biu":
        raise TypeError(f"{name} has dtype {array.dtype}; give bools, True where a step {verb}")
    meaning = "(T,)" if len(shape) == 1 else "(B, T)" if network.batch_first else "(T, B)"
    array = validate.shaped(name, array, shape, meaning).astype(bool, copy=False)
    return array[:, None] if len(shape) == 1 else array.T if network.batch_first else array


def steps_and_sequences(network: Network, shape: tuple[int, ...]) -> tuple[int, int]:
    """T and B of an input of this shape."""
    if len(shape) == 2:
        return shape[0], 1
    return (shape[1], shape[0]) if network.batch_first else (shape[0], shape[1])


def set_states(network: Network, flat, target, given, batch, batched: bool) -> bool:
    """Set states (S, num_layers D, B, H) of a packed batch.

    Parameters
    ----------
    network : Network
    flat : ndarray
        The parameters, among which there may be learned initial states.
    target : array
        Is set.
    given : tuple of array_like or None
        By a user; None for the initial states.
    batch : Batch, MaskedBatch or ResetBatch
    batched : bool
        Whether what is given has a batch dimension.

    Returns
    -------
    bool
        Whether all are 0.
    """
    if given is None:
        if network.starts_at_zero:
            target.fill(0)
            return True
        target[...] = network.backend.arrays.from_host(network.initial_states(flat))[:, :, None]
        return False
    if network.proj_size or not (network.on_host and _copied(target, given, batch, batched)):
        if isinstance(given, tuple | list) and given and all(type(part) is int for part in given):
            raise TypeError(
                f"state is {given!r}, and its parts are arrays; if these are lengths, give lengths={given!r}"
            )
        target[...] = batch.sort(state_array(network, given, batch.B, batched, "state"))
        if batch.restarts:
            batch.restart(target, network.backend.arrays.from_host(network.initial_states(flat)))
    return False


def set_learned(places: list[list[slice]], batch, d_states, learned: bool, flat, samples) -> None:
    """Set the gradients of learned initial states, from those of the states before the first step.

    Parameters
    ----------
    places : list of list of slice
        For each state, layer and direction, among all parameters.
    batch : Batch
    d_states : array, shape (S, num_layers D, B, H)
    learned : bool
        Whether the pass began with them.
    flat : array or None
        The gradients of all parameters.
    samples : Samples or None
        Likewise for each sequence.
    """
    d_initial = batch.d_initial(d_states, learned) if flat is not None or samples is not None else ()
    for of_state, d_state in zip(places, d_initial, strict=False):
        for place, own in zip(of_state, d_state, strict=True):
            if flat is not None:
                flat[place] = own.sum(axis=0)
            elif len(own):  # of all that begin with them, or none
                samples.add(place, own, batch.began)


def set_gradients(network: Network, target, given, batch, batched: bool) -> None:
    """Set the gradients of final states (S, num_layers D, B, H) to what a user gave, in a tuple with None for zeros."""
    if network.proj_size or not (network.on_host and _copied(target, given, batch, batched, True)):
        target[...] = batch.d_unsort(state_array(network, given, batch.B, batched, "dstate"))


def _copied(target, given, batch, batched: bool, none_is_zero: bool = False) -> bool:
    """Copy states that need no conversion: arrays of the target's kind, dtype and shape."""
    if not (batched and not batch.reordered and type(given) is tuple and len(given) == len(target)):
        return False
    kind, dtype, shape = type(target), target.dtype, target.shape[1:]
    for value in given:
        if value is None:
            if not none_is_zero:
                return False
        elif type(value) is not kind or value.dtype != dtype or value.shape != shape:
            return False
    for k, value in enumerate(given):
        target[k] = 0 if value is None else value
    return True


def state_array(network: Network, state, B: int, batched: bool, name: str):
    """States, or their gradients, as a user gave them, as one new array (S, num_layers D, B, H)."""
    names, sizes = network.cell.states, network.state_sizes
    arrays = network.backend.arrays
    if not isinstance(state, tuple | list) or len(state) != len(names):
        raise ValueError(
            f"{name} is {validate.came(state)}; give a tuple of {len(names)} ({', '.join(names)}), or None for zeros"
        )
    result = arrays.empty(network.states_shape(B), network.dtype)
    if network.proj_size:
        result[0] = 0  # behind the projection
    rows = result.shape[1]
    for k, (value, size) in enumerate(zip(state, sizes, strict=True)):
        shape = (rows, B, size) if batched else (rows, size)
        if value is None and name == "dstate":
            result[k] = 0
            continue
        if type(value) is not type(result) or value.dtype != result.dtype or value.shape != shape:
            label, meaning = (
                f"{name} {names[k]!r}",
                f"(num_layers * directions, {'B, ' * batched}{'H' if size == network.hidden_size else 'P'})",
            )
            array = arrays.real(label, value, network.dtype)
            if isinstance(value, tuple | list) and array.shape[1:] == shape:
                came = f"a {type(value).__name__} of {len(value)}"
                raise ValueError(f"{label} is {came}; give the array by itself, of shape {shape}, {meaning}")
            value = validate.shaped(label, array, shape, meaning)
        result[k, ..., :size] = value if batched else value[:, None]
    return result


def output_gradient(network: Network, dy, batch, batched: bool, name: str = "dy", size: int | None = None):
    """The gradient of outputs, or of states at each step, as an array of the network's dtype and device."""
    T, B, features = batch.T, batch.B, (size or network.output_size) * network.D
    dy = network.backend.arrays.real(name, dy, network.dtype)
    if not batch.padded:
        return validate.shaped(name, dy, (batch.N, features), "that of y, (N, D * H)")
    if not batched:
        return validate.shaped(name, dy, (T, features), "that of y, (T, D * H)")
    if network.batch_first:
        return validate.shaped(name, dy, (B, T, features), "that of y, (B, T, D * H)")
    return validate.shaped(name, dy, (T, B, features), "that of y, (T, B, D * H)")
