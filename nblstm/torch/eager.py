"""A pass as a node of autograd, outside of `torch.compile`: the engine's tape waits for the gradient.

The engine copies what it was given, and returns outputs in memory of their own: in-place changes of inputs, outputs or
parameters between forward and backward change no gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from nblstm.buffers import memory
from nblstm.buffers.batch import PackedBatch
from nblstm.engine import engine
from nblstm.engine.network import Network
from nblstm.torch.tensors import Weights, array_of, arrays_of, gradients_of

TELLS_OF_HOOKS = hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks")  # torch 2.4 does not

#: ``hooks_of_saved_tensors(True)``: the hooks that autograd gives what it saves to, or None.
hooks_of_saved_tensors = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", lambda ignore_tracing: None)

TWICE = (
    "the gradient of a module of nblstm.torch is differentiated again, which its kernels cannot; compute with "
    "nblstm.torch.reference(module), the same equations as operations of torch"
)


_PLAIN = (Tensor, Parameter)


def by_operators(x: Tensor) -> bool:
    """Say if something looks at tensors only: a compiler, an exporter, hooks of what autograd saves, modes."""
    if torch.compiler.is_compiling() or type(x) not in _PLAIN or x.is_meta:
        return True
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise RuntimeError(
            "a transform of torch.func meets a module of nblstm.torch, whose kernels it can't look into; give it "
            "nblstm.torch.reference(module), the same equations as operations of torch"
        )
    return hooks_of_saved_tensors(True) is not None or torch._C._len_torch_dispatch_stack() > 0


def any_gradient(x: Tensor, *others: list[Tensor]) -> bool:
    """Say if autograd will want a gradient."""
    if not torch.is_grad_enabled():
        return False
    return x.requires_grad or any(tensor.requires_grad for tensors in others for tensor in tensors)


class Recurrence(torch.autograd.Function):
    """``y, *states = Recurrence.apply(weights, (lengths, resets), seed, given, x, *states, *signals, *parameters)``.

    ``given`` is the number of initial states that are given, all or none; ``weights`` are the parameters as `Weights`.
    """

    @staticmethod
    def forward(ctx: Any, weights: Weights, steps: tuple, seed: int | None, given: int, x: Tensor, *tensors: Tensor):
        """Run a training pass; ``steps`` are the lengths and resets of `infer`, ``seed`` is that of dropout."""
        generator = None if seed is None else np.random.default_rng(seed)
        state = arrays_of(tensors[:given]) if given else None
        lengths, resets = steps
        y, states, tape = engine.forward(
            weights, array_of(x), state, lengths, resets=resets, generator=generator,
            signals=weights.signals(tensors[given:]),
        )  # fmt: skip
        if tape.made.kept:
            y.flags.writeable = True  # a copy
        else:
            y = y.copy()
        # An attribute of a saved tensor, not of ctx: autograd frees what is saved when backward ends, ctx not before
        # the last loss, and with it the graph, has gone; the pass then would not be there for the next step.
        held: Any = torch.empty(0)
        held.tape, held.sources = tape, (x, *tensors)
        ctx.save_for_backward(held)
        if not TELLS_OF_HOOKS:
            ctx.held = held  # there may be hooks, and what comes back from them has no attribute
        ctx.given = given
        ctx.set_materialize_grads(False)
        return torch.from_numpy(y), *[torch.from_numpy(state) for state in states]

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *d_states: Tensor | None):
        """Run BPTT."""
        for gradient in (dy, *d_states):
            if gradient is not None and torch._C._functorch.is_legacy_batchedtensor(gradient):
                raise RuntimeError(
                    "batched gradients (is_grads_batched, vectorize) are asked of a module of nblstm.torch, which has "
                    "none; ask for one after another, or give nblstm.torch.reference(module)"
                )
        (held,) = ctx.saved_tensors
        if not TELLS_OF_HOOKS:
            held = ctx.held
        tape, given, wanted = held.tape, ctx.given, ctx.needs_input_grad
        network: Network = tape.network
        start = given + len(network.cell.signals)
        flat = memory.empty((network.layout.size,), network.numpy_dtype) if True in wanted[5 + start :] else None
        d_signals: dict[str, np.ndarray] | None = {} if True in wanted[5 + given : 5 + start] else None
        dx, d_initial = engine.backward_into(
            tape, None if dy is None else dy.detach().resolve_neg().numpy(), arrays_of(d_states), flat, wanted[4],
            d_signals,
        )  # fmt: skip
        gradients: list[Tensor | None] = [None] * (len(held.sources) - 1)
        if given:
            gradients[:given] = map(torch.from_numpy, d_initial)
        if d_signals is not None:
            gradients[given:start] = map(torch.from_numpy, d_signals.values())
        if flat is not None:
            gradients[start:] = gradients_of(flat, network)
        found = (None if dx is None else torch.from_numpy(dx), *gradients)
        if torch.is_grad_enabled():  # create_graph=True
            found = Once.apply(len(found), *found, *held.sources)
        return None, None, None, None, *found

    @staticmethod
    def jvp(ctx: Any, *tangents: Any):
        """Raise."""
        raise RuntimeError(
            "forward-mode derivatives are asked of a module of nblstm.torch, which has those of backward() alone; give "
            "nblstm.torch.reference(module), the same equations as operations of torch"
        )


class Once(torch.autograd.Function):
    """Gradients that have no derivative here; whoever asks for it is told what has.

    ``Once.apply(count, *gradients, *sources)``, where the gradients, ``count`` of them, depend on the sources.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor | None):
        """Return the gradients."""
        return tensors[:count]

    @staticmethod
    def backward(ctx: Any, *second: Tensor | None):
        """Raise."""
        raise RuntimeError(TWICE)


def inferred(weights: Weights, x: Tensor, states, signals, lengths: Any, resets: Any = None) -> tuple[Tensor, ...]:
    """Run a pass that no gradient will follow."""
    state = arrays_of(states) if states else None
    y, states = engine.infer(weights, array_of(x), state, lengths, resets=resets, signals=weights.signals(signals))
    return torch.from_numpy(y), *[torch.from_numpy(state) for state in states]


def packed_batch(batch_sizes: Tensor, order: Tensor | None) -> PackedBatch:
    """The batch of a PackedSequence; one may be made by hand, and kernels go where its numbers point."""
    active = np.ascontiguousarray(batch_sizes.numpy())
    if active.dtype != np.int64 or active.ndim != 1 or (active[1:] > active[:-1]).any() or active[-1:].sum() < 1:
        raise ValueError(
            f"batch_sizes are {active.tolist()} of {active.dtype}; they are int64, 1 or more, and never grow: make the "
            "PackedSequence by pack_sequence()"
        )
    places = np.arange(active[0])
    if order is None:
        return PackedBatch(active, places)
    given = order.numpy()
    if given.shape != places.shape or not (np.sort(given) == places).all():
        raise ValueError(
            f"sorted_indices are {given.tolist()}; they have each number below {active[0]} once: make the "
            "PackedSequence by pack_sequence()"
        )
    return PackedBatch(active, given.astype(np.int64))
