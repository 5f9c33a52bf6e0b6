"""The engine as operators of torch, ``torch.ops.nblstm``, for `torch.compile`, `torch.export` and hooks of autograd.

Nothing but tensors goes in and out: the tape of a training pass is one of them, in the engine's reserve. Networks are
given as texts, see `description`. Sizes may be symbolic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nblstm.buffers import memory
from nblstm.engine import engine, lookup
from nblstm.engine.network import Network
from nblstm.engine.reserve import reproducible, reserve_shapes
from nblstm.torch.description import network_from
from nblstm.torch.eager import TWICE, inferred
from nblstm.torch.tensors import DTYPES, Weights, array_of, arrays_of, split

#: By the engine's name.
_DTYPES = {name: dtype for dtype, name in DTYPES.items()}

_library = torch.library.Library("nblstm", "DEF")
_library.define(
    "infer(Tensor x, Tensor[] states, Tensor[] signals, Tensor[] weights, Tensor? lengths, str network, "
    "Tensor? resets=None) -> Tensor[]"
)
_library.define(
    "forward(Tensor x, Tensor[] states, Tensor[] signals, Tensor[] weights, Tensor? lengths, Tensor? seed, "
    "float dropout, str network, Tensor? resets=None) -> Tensor[]"
)
_library.define(
    "backward(Tensor reserve, Tensor[] weights, Tensor? dy, Tensor?[] dstates, SymInt T, SymInt B, bool dx, "
    "bool dweights, int[] dsignals, float dropout, str network) -> Tensor[]"
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


def _reserve_size(network: Network, T, B, noise: bool, restarts: bool) -> Any:
    """Bytes of the reserve for any lengths, and any resets if there are some; T and B may be symbols."""
    noise = noise and network.is_noisy
    return memory.size_of(reserve_shapes(network, _Extent(T, B, restarts), T * B, None, False, noise))


def _infer(
    x: Tensor, states: list[Tensor], signals: list[Tensor], weights: list[Tensor], lengths: Tensor | None,
    network: str, resets: Tensor | None = None,
):  # fmt: skip
    own = Weights(network_from(network), weights)
    lengths, flags = None if lengths is None else array_of(lengths), None if resets is None else resets.numpy()
    return list(inferred(own, x, states, signals, lengths, flags))


def _forward(
    x: Tensor, states: list[Tensor], signals: list[Tensor], weights: list[Tensor], lengths: Tensor | None,
    seed: Tensor | None, dropout: float, network: str, resets: Tensor | None = None,
):  # fmt: skip
    """``[y, *states, reserve]``; without a seed ``dropout`` is 0, and the cell draws no noise."""
    own = network_from(network, dropout)
    noise = seed is not None
    size = _reserve_size(own, x.shape[0], x.shape[1], noise, resets is not None)
    reserve = torch.empty(size, dtype=torch.uint8)
    module = Weights(own, weights)
    y, final, tape = engine.forward(
        module, array_of(x), arrays_of(states) if states else None,
        None if lengths is None else array_of(lengths), resets=None if resets is None else resets.numpy(),
        generator=None if seed is None else np.random.default_rng(int(seed)), reserve=array_of(reserve),
        signals=module.signals(signals),
    )  # fmt: skip
    y.flags.writeable = True  # a copy
    reproducible(own, array_of(reserve), tape.made.batch, noise and own.is_noisy)  # as an operator's results are to be
    return [torch.from_numpy(y), *map(torch.from_numpy, final), reserve]


def _backward(
    reserve: Tensor, weights: list[Tensor], dy: Tensor | None, dstates: list[Tensor | None], T: int, B: int, dx: bool,
    dweights: bool, dsignals: list[int], dropout: float, network: str,
):  # fmt: skip
    """``[dx, *d_states, *d_signals, all gradients of the weights in one]``, empty where not wanted.

    ``dsignals`` has for each signal 0 if it has one number for each step, else H; nothing where they are not wanted.
    """
    own = network_from(network, dropout)
    tape = lookup.restored(Weights(own, weights), array_of(reserve))
    flat = torch.empty(own.layout.size if dweights else 0, dtype=_DTYPES[own.dtype])
    d_signals: dict[str, np.ndarray] | None = {} if dsignals else None
    d_x, d_initial = engine.backward_into(
        tape, None if dy is None else array_of(dy), arrays_of(dstates), array_of(flat) if dweights else None, dx,
        d_signals,
    )  # fmt: skip
    others = map(torch.from_numpy, (*d_initial, *(d_signals or {}).values()))
    return [torch.from_numpy(d_x) if dx else flat.new_empty(0), *others, flat]


for _name, _function in (("infer", _infer), ("forward", _forward), ("backward", _backward)):
    _library.impl(_name, _function, "CPU")


@torch.library.register_fake("nblstm::infer", lib=_library)
def _infer_fake(x, states, signals, weights, lengths, network, resets=None):
    own = network_from(network)
    T, B, _ = x.shape
    return [x.new_empty(T, B, own.D * own.output_size), *_states_fake(own, x, B)]


def _states_fake(network: Network, like: Tensor, B) -> list[Tensor]:
    rows = network.num_layers * network.D
    return [like.new_empty(rows, B, size) for size in network.state_sizes]


@torch.library.register_fake("nblstm::forward", lib=_library)
def _forward_fake(x, states, signals, weights, lengths, seed, dropout, network, resets=None):
    size = _reserve_size(network_from(network, dropout), *x.shape[:2], seed is not None, resets is not None)
    return [*_infer_fake(x, states, signals, weights, lengths, network), x.new_empty(size, dtype=torch.uint8)]


@torch.library.register_fake("nblstm::backward", lib=_library)
def _backward_fake(reserve, weights, dy, dstates, T, B, dx, dweights, dsignals, dropout, network):
    own = network_from(network)
    like = weights[0]
    d_x = like.new_empty((T, B, own.input_size) if dx else (0,))
    d_signals = [like.new_empty((T, B, size) if size else (T, B)) for size in dsignals]
    return [d_x, *_states_fake(own, like, B), *d_signals, like.new_empty(own.layout.size if dweights else 0)]


def _setup(ctx, inputs, output) -> None:
    x, states, signals, weights, _, _, dropout, network, _ = inputs
    ctx.save_for_backward(output[-1], *weights)
    ctx.of, ctx.extent, ctx.given = (dropout, network), x.shape[:2], len(states)
    ctx.signals = [0 if signal.dim() == 2 else signal.shape[2] for signal in signals]
    ctx.set_materialize_grads(False)


def _autograd(ctx, gradients):
    """Gradients of `forward`, by `backward`."""
    reserve, *weights = ctx.saved_tensors
    dy, *dstates = gradients[:-1]
    wanted_x, _, wanted_signals, wanted_weights = ctx.needs_input_grad[:4]
    wanted_signals, wanted_weights = any(wanted_signals), any(wanted_weights)
    dx, *rest = torch.ops.nblstm.backward(
        reserve, weights, dy, dstates, *ctx.extent, wanted_x, wanted_weights, ctx.signals if wanted_signals else [],
        *ctx.of,
    )  # fmt: skip
    S = len(dstates)
    d_initial, d_signals, flat = rest[:S], rest[S:-1], rest[-1]
    d_weights = split(flat, weights) if wanted_weights else [None] * len(weights)
    if not wanted_signals:
        d_signals = [None] * len(ctx.signals)
    return dx if wanted_x else None, d_initial if ctx.given else [], d_signals, d_weights, *[None] * 5


torch.library.register_autograd("nblstm::forward", _autograd, setup_context=_setup, lib=_library)


def _no_second(ctx, gradients):
    raise RuntimeError(TWICE)


torch.library.register_autograd("nblstm::backward", _no_second, lib=_library)
