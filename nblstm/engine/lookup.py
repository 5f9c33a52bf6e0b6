"""Passes for inputs: from the pool, made anew, or in the caller's reserve."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from nblstm.arguments import validate
from nblstm.buffers import memory
from nblstm.buffers.batch import can_be_arranged
from nblstm.buffers.pool import FreeList
from nblstm.engine.inputs import checked_batch, checked_input, steps_and_sequences
from nblstm.engine.network import Network
from nblstm.engine.passes import Pass
from nblstm.engine.reserve import HEADER_SIZE, batch_of, checked_reserve, header_of, largest_reserve, reserve_shapes
from nblstm.engine.tape import Tape
from nblstm.engine.weights import weights_of


class Form(NamedTuple):
    """Form of a pass: for training or not, steps between checkpoints, with recurrent dropout, with the cell's noise.

    The last says whether the states of each step are kept where BPTT does not need them.
    """

    training: bool
    checkpoint: int | None = None
    recurrent_dropout: bool = False
    noise: bool = False
    every_state: bool = False


INFERENCE, TRAINING = Form(False), Form(True)


def with_every_state(network: Network, form: Form, all_states) -> Form:
    """The form in which the states of each step are at hand, for the flag that a user gave."""
    validate.flag("all_states", all_states)
    if not network.on_host:
        raise ValueError(
            f"all_states is for networks on the CPU, and this one is on {network.device!r}; step through the sequence"
        )
    return form if form.training and form.checkpoint is None else form._replace(every_state=True)


def pass_for(
    network: Network, x, lengths, mask, resets, hold: bool, form: Form
) -> tuple[Any, Any, Pass, FreeList | None]:
    """A pass for an input: the input as the pass takes it, its kind of array, the pass, and where that came from."""
    if lengths is None and mask is None and resets is None and type(x) is ndarray and x.dtype == network.numpy_dtype:
        free = network.pool.get((x.shape, form))
        if free is not None:
            made = free.take()
            if made is None:
                batch = network.backend.arrays.batch(*steps_and_sequences(network, x.shape), None)
                made = _made(network, free, batch, x.ndim == 3, form)
            return x, None, made, free
    kind = network.backend.arrays.kind(x)
    x, batch, batched = checked_input(network, x, lengths, mask, resets, hold)
    free, alike = None, batch.direct and batch.padded
    if network.on_host and form.checkpoint is None:
        if alike:
            free = network.pool.second((x.shape, form))
        elif not form.training or can_be_arranged(batch, form.checkpoint):
            free = network.pool.second((x.shape if batch.padded else (batch.T, batch.B), batch.packed.B, form))
    made = None if free is None else free.take()
    if made is None:
        made = _made(network, free, batch, batched, form)
    elif not alike:
        made.arrange(batch)
    return x, kind, made, free


def _made(network: Network, free: FreeList | None, batch, batched: bool, form: Form) -> Pass:
    made = Pass(network, batch, batched, *form)
    if free is not None:
        free.add(made)
        made.kept = free.keeps
    return made


# --- reserves -----------------------------------------------------------------------------------------


def reserve_size(
    network: Network, T: int, B: int, lengths=None, mask=None, resets=None, checkpoint: int | None = None
) -> int:
    """Bytes of the reserve of a training pass over a padded batch of T steps and B sequences; see `forward`."""
    T, B = validate.whole_number("T", T), validate.whole_number("B", B)
    if checkpoint is not None:
        checkpoint = validate.positive_integer("checkpoint", checkpoint)
    _needs_host(network)
    one = B == 1 and 1 in (np.ndim(mask), np.ndim(resets))  # without a batch dimension
    shape = (T,) if one else (B, T) if network.batch_first else (T, B)
    batch = checked_batch(network, shape, lengths, mask, resets, False)
    return largest_reserve(network, batch, batch.N, checkpoint)


def _needs_host(network: Network) -> None:
    if not network.on_host:
        raise ValueError(f"a reserve is for networks on the CPU, and this one is on {network.device!r}; do without")


def pass_in(network: Network, reserve, x, lengths, mask, resets, hold: bool, form: Form) -> tuple[Any, Any, Pass, None]:
    """Make a pass in the caller's memory; results as of `pass_for`."""
    _needs_host(network)
    if form.checkpoint and (network.cell.signals or form.noise):
        what = "signals" if network.cell.signals else "noise"
        raise ValueError(f"reserve is not for checkpoint= and a cell with {what}; leave one out, and keep the tape")
    x, batch, batched = checked_input(network, x, lengths, mask, resets, hold)
    block = checked_reserve(reserve, memory.size_of(reserve_shapes(network, batch, batch.N, *form[1:4])), True)
    return x, None, Pass(network, batch, batched, *form, reserve=block), None


def restored(module: Any, reserve) -> Tape:
    """A tape of what a forward pass has left in a reserve, here or in memory that was copied from there.

    Parameters
    ----------
    module : Module
        Whose parameters are those of the forward pass.
    reserve : ndarray
    """
    network = module._network
    _needs_host(network)
    block = checked_reserve(reserve, HEADER_SIZE, False)
    header = header_of(network, block)
    batch = batch_of(network, header, block)
    form = Form(True, header.checkpoint or None, bool(header.dropped), bool(header.noise))
    checked_reserve(reserve, memory.size_of(reserve_shapes(network, batch, batch.N, *form[1:4])), False)
    made = Pass(network, batch, bool(header.batched), *form, reserve=block)
    made.learned = bool(header.learned)
    weights = weights_of(module, True, seed=header.drawn)
    made.attach(weights, bool(header.active), header.wide)
    return Tape(network, made, weights, None)
