"""The engine as operators of torch, ``torch.ops.nblstm``, for `torch.compile`, `torch.export` and hooks of autograd.

Nothing but tensors goes in and out: the tape of a training pass is one of them, in the engine's reserve. Networks are
given as texts, see `description`. Sizes may be symbolic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nblstm.engine import engine, lookup
from nblstm.engine.network import Network
from nblstm.engine.reserve import largest_reserve, reproducible
from nblstm.torch.description import network_from
from nblstm.torch.eager import TWICE, inferred
from nblstm.torch.tensors import DTYPES, Weights, array_of, arrays_of, split

#: By the engine's name.
_DTYPES = {name: dtype for dtype, name in DTYPES.items()}

_library = torch.library.Library("nblstm", "DEF")
_library.define(
    "infer(Tensor x, Tensor[] states, Tensor[] weights, Tensor? lengths, str network, Tensor? resets=None) -> Tensor[]"
)
_library.define(
    "forward(Tensor x, Tensor[] states, Tensor[] weights, Tensor? lengths, Tensor? seed, float dropout, str network, "
    "Tensor? resets=None) -> Tensor[]"
)
_library.define(
    "backward(Tensor reserve, Tensor[] weights, Tensor? dy, Tensor?[] dstates, SymInt T, SymInt B, bool dx, "
    "bool dweights, float dropout, str network) -> Tensor[]"
)


class _Extent(NamedTuple):
    """Steps and sequences of a padded batch, in the place of a `Batch` whose lengths and resets nobody knows yet."""

    T: Any
    B: Any
    restarts: bool = False

    @property
    def gathered(self) -> bool:
        return self.restarts

    @property
    def packed(self) -> _Extent:
        """With resets at all steps, `ResetBatch` has a sequence for each, and an eighth more."""
        return _Extent(self.T, self.T * self.B + self.T * self.B // 8) if self.restarts else self


def _reserve_size(network: Network, T, B, restarts: bool) -> Any:
    """Bytes of the reserve for any lengths, and any resets if there are some; T and B may be symbols."""
    return largest_reserve(network, _Extent(T, B, restarts), T * B, None)


def _infer(
    x: Tensor, states: list[Tensor], weights: list[Tensor], lengths: Tensor | None, network: str,
    resets: Tensor | None = None,
):  # fmt: skip
    own = network_from(network)
    lengths, flags = None if lengths is None else array_of(lengths), None if resets is None else resets.numpy()
    return list(inferred(Weights(own, weights), x, states, lengths, flags))


def _forward(
    x: Tensor, states: list[Tensor], weights: list[Tensor], lengths: Tensor | None, seed: Tensor | None,
    dropout: float, network: str, resets: Tensor | None = None,
):  # fmt: skip
    """``[y, *states, reserve]``; ``dropout`` is 0 where there is no seed."""
    own = network_from(network, dropout)
    size = _reserve_size(own, x.shape[0], x.shape[1], resets is not None)
    reserve = torch.empty(size, dtype=torch.uint8)
    y, final, tape = engine.forward(
        Weights(own, weights), array_of(x), arrays_of(states) if states else None,
        None if lengths is None else array_of(lengths), resets=None if resets is None else resets.numpy(),
        generator=None if seed is None else np.random.default_rng(int(seed)), reserve=array_of(reserve),
    )  # fmt: skip
    y.flags.writeable = True  # a copy
    reproducible(own, array_of(reserve), tape.made.batch)  # as an operator's results are to be
    return [torch.from_numpy(y), *map(torch.from_numpy, final), reserve]


def _backward(
    reserve: Tensor, weights: list[Tensor], dy: Tensor | None, dstates: list[Tensor | None], T: int, B: int, dx: bool,
    dweights: bool, dropout: float, network: str,
):  # fmt: skip
    """``[dx, *d_states, all gradients of the weights in one]``, empty where not wanted."""
    own = network_from(network, dropout)
    tape = lookup.restored(Weights(own, weights), array_of(reserve))
    flat = torch.empty(own.layout.size if dweights else 0, dtype=_DTYPES[own.dtype])
    d_x, d_initial = engine.backward_into(
        tape, None if dy is None else array_of(dy), arrays_of(dstates), array_of(flat) if dweights else None, dx
    )
    return [torch.from_numpy(d_x) if dx else flat.new_empty(0), *map(torch.from_numpy, d_initial), flat]


for _name, _function in (("infer", _infer), ("forward", _forward), ("backward", _backward)):
    _library.impl(_name, _function, "CPU")


@torch.library.register_fake("nblstm::infer", lib=_library)
def _infer_fake(x, states, weights, lengths, network, resets=None):
    own = network_from(network)
    T, B, _ = x.shape
    shape = own.states_shape(B)[1:]
    return [x.new_empty(T, B, own.D * own.hidden_size), *[x.new_empty(shape) for _ in own.cell.states]]


@torch.library.register_fake("nblstm::forward", lib=_library)
def _forward_fake(x, states, weights, lengths, seed, dropout, network, resets=None):
    size = _reserve_size(network_from(network, dropout), *x.shape[:2], resets is not None)
    return [*_infer_fake(x, states, weights, lengths, network), x.new_empty(size, dtype=torch.uint8)]


@torch.library.register_fake("nblstm::backward", lib=_library)
def _backward_fake(reserve, weights, dy, dstates, T, B, dx, dweights, dropout, network):
    own = network_from(network)
    like = weights[0]
    d_x = like.new_empty((T, B, own.input_size) if dx else (0,))
    shape = own.states_shape(B)[1:]
    return [d_x, *[like.new_empty(shape) for _ in own.cell.states], like.new_empty(own.layout.size if dweights else 0)]


def _setup(ctx, inputs, output) -> None:
    x, states, weights, _, _, dropout, network, _ = inputs
    ctx.save_for_backward(output[-1], *weights)
    ctx.of, ctx.extent, ctx.given = (dropout, network), x.shape[:2], len(states)
    ctx.set_materialize_grads(False)


def _autograd(ctx, gradients):
    """Gradients of `forward`, by `backward`."""
    reserve, *weights = ctx.saved_tensors
    dy, *dstates = gradients[:-1]
    wanted_x, wanted_weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[2])
    dx, *rest = torch.ops.nblstm.backward(reserve, weights, dy, dstates, *ctx.extent, wanted_x, wanted_weights, *ctx.of)
    d_initial, flat = rest[:-1], rest[-1]
    d_weights = split(flat, weights) if wanted_weights else [None] * len(weights)
    return dx if wanted_x else None, d_initial if ctx.given else [], d_weights, None, None, None, None, None


torch.library.register_autograd("nblstm::forward", _autograd, setup_context=_setup, lib=_library)


def _no_second(ctx, gradients):
    raise RuntimeError(TWICE)


torch.library.register_autograd("nblstm::backward", _no_second, lib=_library)
