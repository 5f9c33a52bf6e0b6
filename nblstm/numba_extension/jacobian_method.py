"""``net.jacobian(x, s)`` in functions that Numba compiles; `CompiledNetwork.jacobian` is the same in Python."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload_method, register_jitable

from nblstm.codegen.intrinsics import call
from nblstm.numba_extension.network_type import NetworkType
from nblstm.numba_extension.numba_methods import address_of, check_signals, check_state, copied, given
from nblstm.numba_extension.step_errors import JacobianError, StateError


@overload_method(NetworkType, "jacobian")
def _jacobian(net, x, s, signals=None):
    check_state(net, s)
    check_signals(signals)
    real, placed = net.dtype, _index
    if isinstance(x, types.Array) and x.ndim == 1 and x.dtype in (types.float32, types.float64):
        placed = given if x.layout == "C" and x.aligned and x.dtype == real else copied
    elif not isinstance(x, types.Integer):
        raise TypingError(
            f"x is {x}; give an array (I,) of float32 or float64, or an index for a network that begins with an "
            "Embedding"
        )

    def jacobian(net, x, s, signals=None):
        header = net._header
        if header.batch_size != 1:
            raise JacobianError(header.batch_size)
        if s.size != header.state_size:
            raise StateError(s.size, header.state_size)
        n, I, O = header.recurrent_size, header.jacobian_columns - header.recurrent_size, header.output_size
        A, B, C, D = np.empty((n, n), real), np.empty((n, I), real), np.empty((O, n), real), np.empty((O, I), real)
        t, work = np.empty(header.state_size, real), np.empty(header.jacobian_size, real)
        for k in range(t.size):
            t[k] = s[k]
        net.step(x, t, signals)
        call(header.jacobian, (
            header, placed(header, x, t), address_of(s), address_of(t), address_of(work),
            address_of(A), address_of(B), address_of(C), address_of(D),
        ))  # fmt: skip
        keep_alive(t, work)
        return A, B, C, D

    return jacobian


@register_jitable
def _index(header, x, s):
    """Return any address: an Embedding's derivatives need none of its input."""
    return address_of(s)


@intrinsic
def keep_alive(typingctx, t, work):
    """Do nothing, with arrays whose memory Numba would else give back once their addresses have been taken."""

    def codegen(context, builder, signature, args):
        return context.get_dummy_value()

    return types.void(t, work), codegen
