"""Methods and attributes of a compiled network in functions that Numba compiles."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload_method, register_jitable

from nblstm.codegen.intrinsics import call, intrinsic, pointer_to
from nblstm.numba_extension.network_type import NetworkType
from nblstm.numba_extension.step_errors import NO_SUCH_STATE, InputError, SignalError, StateError, UnknownIndexError


@intrinsic
def address_of(typingctx, array):
    """Address of an array's first number."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.int64(array), codegen


def check_state(net: NetworkType, s) -> None:
    """Refuse, at typing, what is no state of a network."""
    good = isinstance(s, types.Array) and s.ndim == 1 and s.layout == "C" and s.mutable and s.aligned
    if not good or s.dtype != net.dtype:
        raise TypingError(f"s is {s}; give a state of this network, {net.dtype}, from zero_state()")


@overload_method(NetworkType, "zero_state")
def _zero_state(net):
    real = net.dtype

    def zero_state(net):
        header = net._header
        s, initial = np.zeros(header.state_size, real), pointer_to(header.initial, real)
        for k in range(header.recurrent_size):
            s[k] = initial[k]
        return s

    return zero_state


@overload_method(NetworkType, "reset")
def _reset(net, s):
    check_state(net, s)
    real = net.dtype

    def reset(net, s):
        header = net._header
        if s.size != header.state_size:
            raise StateError(s.size, header.state_size)
        initial = pointer_to(header.initial, real)
        for k in range(header.recurrent_size):
            s[k] = initial[k]

    return reset


@overload_method(NetworkType, "layer_state")
def _layer_state(net, s, layer, k):
    check_state(net, s)
    if not isinstance(layer, types.Integer) or not isinstance(k, types.Integer):
        raise TypingError(f"layer is {layer} and k is {k}; give whole numbers, of a layer and of one of its states")

    def layer_state(net, s, layer, k):
        header = net._header
        if s.size != header.state_size:
            raise StateError(s.size, header.state_size)
        own = pointer_to(header.layers + 32 * layer, types.int64)
        if not 0 <= layer < header.num_layers or not 0 <= k < own[2]:
            raise IndexError(NO_SUCH_STATE)
        start, numbers = own[0] + k * own[1], header.batch_size * own[3]
        return s[start : start + numbers].reshape(header.batch_size, own[3])

    return layer_state


def check_signals(signals) -> None:
    """Refuse, at typing, what are no signals."""
    if isinstance(signals, types.Omitted | types.NoneType) or signals is None:
        return
    good = isinstance(signals, types.Array) and 1 <= signals.ndim <= 3
    if not good or signals.dtype not in (types.float32, types.float64):
        raise TypingError(f"signals is {signals}; give an array of float32 or float64, (K,) or (B, K)")


@overload_method(NetworkType, "step")
def _step(net, x, s, signals=None):
    check_state(net, s)
    check_signals(signals)
    put = _put_signals.get(getattr(signals, "ndim", 0), _no_signals)
    if isinstance(x, types.Integer):
        return _step_of_index(net, put)
    number = x.dtype if isinstance(x, types.Array) else None
    if isinstance(number, types.Integer) and x.ndim == 1:
        return _step_of_indices(net, put)
    if number not in (types.float32, types.float64) or x.ndim not in (1, 2):
        raise TypingError(
            f"x is {x}; give an array of float32 or float64, (I,) or (B, I), or indices for a network that begins with "
            "an Embedding"
        )
    ready = x.layout == "C" and x.aligned and number == net.dtype
    return (_step_of_row if x.ndim == 1 else _step_of_rows)(net, given if ready else copied, put)


@register_jitable
def _no_signals(header, signals, s):
    """Check that there are to be none."""
    if header.num_signals:
        raise SignalError((), header.num_signals, header.batch_size, header.signal_units)


@register_jitable
def _signals_of_row(header, signals, s):
    """Put signals (K,) into the state, for each unit."""
    K, H = header.num_signals, header.signal_units
    if header.batch_size != 1 or signals.size != K or not K:
        raise SignalError(signals.shape, K, header.batch_size, H)
    for k in range(K):
        for u in range(H):
            s[header.signals + k * H + u] = signals[k]


@register_jitable
def _signals_of_rows(header, signals, s):
    """Put signals (B, K), or (K, H) of one row, into the state."""
    (B, K), H, at = signals.shape, header.signal_units, header.signals
    if header.num_signals and header.batch_size == B and header.num_signals == K:
        for b in range(B):
            for k in range(K):
                for u in range(H):
                    s[at + (b * K + k) * H + u] = signals[b, k]
    elif header.num_signals and header.batch_size == 1 and header.num_signals == B and H == K:
        for k in range(B):
            for u in range(H):
                s[at + k * H + u] = signals[k, u]
    else:
        raise SignalError(signals.shape, header.num_signals, header.batch_size, H)


@register_jitable
def _signals_of_units(header, signals, s):
    """Put signals (B, K, H) into the state."""
    B, K, H = signals.shape
    if not header.num_signals or header.batch_size != B or header.num_signals != K or header.signal_units != H:
        raise SignalError(signals.shape, header.num_signals, header.batch_size, header.signal_units)
    at = header.signals
    for number in signals.flat:
        s[at] = number
        at += 1


#: By the number of dimensions of what is given.
_put_signals = {1: _signals_of_row, 2: _signals_of_rows, 3: _signals_of_units}


@register_jitable
def copied(header, x, s):
    """Put the numbers of an input into the state, and return where they are."""
    k = header.x
    for number in x.flat:
        s[k] = number
        k += 1
    return address_of(s) + header.x * s.itemsize


@register_jitable
def given(header, x, s):
    """Address of an input that needs no conversion; a part of the state is copied, as a step writes there."""
    at = address_of(x)
    return copied(header, x, s) if 0 <= at - address_of(s) < s.nbytes else at


def _step_of_row(net: NetworkType, placed, put):
    def step(net, x, s, signals=None):
        header = net._header
        if s.size != header.state_size:
            raise StateError(s.size, header.state_size)
        if x.size != header.input_size or header.batch_size != 1 or header.vocabulary:
            raise InputError(x.shape, False, header.batch_size, header.input_size, header.vocabulary)
        put(header, signals, s)
        call(header.step, (header, placed(header, x, s), address_of(s)))
        return s[header.y : header.y + header.output_size]

    return step


def _step_of_rows(net: NetworkType, placed, put):
    def step(net, x, s, signals=None):
        header = net._header
        if s.size != header.state_size:
            raise StateError(s.size, header.state_size)
        B, I = x.shape
        if header.input_size != I or header.batch_size != B or header.vocabulary:
            raise InputError(x.shape, False, header.batch_size, header.input_size, header.vocabulary)
        put(header, signals, s)
        call(header.step, (header, placed(header, x, s), address_of(s)))
        return s[header.y : header.y + B * header.output_size].reshape(B, header.output_size)

    return step


def _step_of_index(net: NetworkType, put):
    index = types.int32 if net.dtype == types.float32 else types.int64

    def step(net, x, s, signals=None):
        header = net._header
        if s.size != header.state_size:
            raise StateError(s.size, header.state_size)
        if header.batch_size != 1 or not header.vocabulary:
            raise InputError((), True, header.batch_size, header.input_size, header.vocabulary)
        if not header.first_index <= x < header.vocabulary:
            raise UnknownIndexError(x, header.first_index, header.vocabulary)
        put(header, signals, s)
        at = address_of(s) + header.x * size
        pointer_to(at, index)[0] = x
        call(header.step, (header, at, address_of(s)))
        return s[header.y : header.y + header.output_size]

    size = net.dtype.bitwidth // 8
    return step


def _step_of_indices(net: NetworkType, put):
    index = types.int32 if net.dtype == types.float32 else types.int64

    def step(net, x, s, signals=None):
        header = net._header
        if s.size != header.state_size:
            raise StateError(s.size, header.state_size)
        B = x.size
        if header.batch_size != B or not header.vocabulary:
            raise InputError(x.shape, True, header.batch_size, header.input_size, header.vocabulary)
        put(header, signals, s)
        at = address_of(s) + header.x * size
        target = pointer_to(at, index)
        for b in range(B):
            if not header.first_index <= x[b] < header.vocabulary:
                raise UnknownIndexError(x[b], header.first_index, header.vocabulary)
            target[b] = x[b]
        call(header.step, (header, at, address_of(s)))
        return s[header.y : header.y + B * header.output_size].reshape(B, header.output_size)

    size = net.dtype.bitwidth // 8
    return step
