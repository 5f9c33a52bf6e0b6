"""Kernels of a step, whatever is in the network: the loop over stages, and the stage that is a recurrent layer.

Each is ``kernel(arguments, x, s)``, given addresses. It writes into the state ``s`` alone, so that threads with a
state each share a network. What `ForwardArguments` a layer needs is copied to the stack, as x and s are known there.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import call, local, pointer_to
from nblstm.cpu.arguments import Arguments, ForwardArguments, Kernel, pointer_type, structure
from nblstm.numba_extension.block import NetworkHeader
from nblstm.numba_extension.implementation import implementation


@structure
class LayerStep(Arguments):
    """A recurrent layer's kernel, and where its arrays are, in bytes from the state's beginning."""

    forward: Kernel
    state: int
    y: int
    z: int
    signals: int


_FIELDS, _STEP_FIELDS = ([field for field, *_ in kind._fields_] for kind in (ForwardArguments, LayerStep))
_SIZE = len(_FIELDS)
_X, _STATE, _Y, _Z, _SIGNALS = map(_FIELDS.index, ("x", "state", "y", "z", "signals"))
_FORWARD, STATE_AT, _Y_AT, Z_AT, _SIGNALS_AT = (
    _SIZE + k for k in map(_STEP_FIELDS.index, ("forward", "state", "y", "z", "signals"))
)


@cache
def step_kernel() -> int:
    """Address of ``step(header, x, s)``: all stages of a network, each on the outputs of the one before."""

    def make():
        integer = types.int64

        def step(header, x, s):
            stages = pointer_to(header.stages, integer)
            for k in range(header.num_stages):
                # y = stage(x), y in the state.
                call(stages[3 * k], (stages[3 * k + 1], x, s))
                x = s + stages[3 * k + 2]

        return step, types.void(pointer_type(NetworkHeader), integer, integer)

    return compiled("compiled_step", implementation(), make)


@cache
def layer_stage() -> int:
    """Address of ``layer(arguments, x, s)``: a step of a recurrent layer, by its `ForwardArguments` and `LayerStep`."""

    def make():
        integer = types.int64

        def layer(given, x, s):
            args = local(integer, _SIZE)
            for k in range(_SIZE):
                args[k] = given[k]
            args[_X], args[_STATE] = x, s + given[STATE_AT]
            args[_Y], args[_Z], args[_SIGNALS] = s + given[_Y_AT], s + given[Z_AT], s + given[_SIGNALS_AT]
            # z = W_ih x + W_hh h + b;  states, y = cell(z, states).
            call(given[_FORWARD], (args, 0))

        return layer, types.void(types.CPointer(integer), integer, integer)

    return compiled("compiled_layer", implementation(), make)
