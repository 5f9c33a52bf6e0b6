"""Numba's type of a compiled network: its dtype alone, as cell, sizes and weights are data.

A value is the address of the network's block, and a reference to the Python object that owns it. Functions on disk
(``cache=True``) have no address in them; they are found again by the type's name, which has a hash of all that they
contain of nblstm.
"""

from __future__ import annotations

import operator
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    box,
    infer_getattr,
    lower_builtin,
    lower_getattr,
    make_attribute_wrapper,
    models,
    register_model,
    typeof_impl,
    unbox,
)

from nblstm.cpu.arguments import pointer_type
from nblstm.numba_extension.block import NetworkHeader
from nblstm.numba_extension.implementation import implementation


class NetworkType(types.Type):
    """Numba's type of a `CompiledNetwork`.

    Parameters
    ----------
    dtype : numba.types.Float
    version : str
        See `implementation`.
    """

    def __init__(self, dtype: types.Float, version: str):
        self.dtype = dtype
        super().__init__(f"nblstm.CompiledNetwork({dtype}, {version[:12]})")  # in each of Numba's error messages


@cache
def network_type(dtype: str) -> NetworkType:
    """The type of networks of a dtype."""
    return NetworkType(getattr(types, dtype), implementation())


@register_model(NetworkType)
class _Model(models.StructModel):
    def __init__(self, manager, kind):
        members = [
            ("header", pointer_type(NetworkHeader)), ("owner", types.pyobject),
            ("reference", types.MemInfoPointer(types.voidptr)),
        ]  # fmt: skip
        super().__init__(manager, kind, members)


make_attribute_wrapper(NetworkType, "header", "_header")

#: Attributes that compiled functions read from the header.
SIZES = ("batch_size", "input_size", "output_size", "state_size", "recurrent_size", "num_layers", "num_signals")

#: Methods that only Python has.
IN_PYTHON = ("states", "set_states", "update")


@infer_getattr
class _Sizes(AttributeTemplate):
    key = NetworkType

    def generic_resolve(self, kind, name):
        if name == "dtype":
            return types.DType(kind.dtype)
        if name in IN_PYTHON:
            raise TypingError(f"net.{name}() is for Python; call it outside of the compiled function")
        return types.int64 if name in SIZES else None


def _lower(name: str) -> None:
    place = [field for field, *_ in NetworkHeader._fields_].index(name)

    @lower_getattr(NetworkType, name)
    def _read(context, builder, kind, value):
        header = cgutils.create_struct_proxy(kind)(context, builder, value=value).header
        return builder.load(builder.gep(header, [ir.Constant(ir.IntType(64), place)]))


for _name in SIZES:
    _lower(_name)


@lower_getattr(NetworkType, "dtype")
def _dtype(context, builder, kind, value):
    return context.get_dummy_value()


@lower_builtin(operator.is_, NetworkType, NetworkType)
def _is(context, builder, signature, args):
    """Compare the blocks: a network has one."""
    first, second = (
        builder.ptrtoint(cgutils.create_struct_proxy(kind)(context, builder, value=value).header, ir.IntType(64))
        for kind, value in zip(signature.args, args, strict=True)
    )
    return builder.icmp_unsigned("==", first, second)


@unbox(NetworkType)
def _unbox(kind, network, c):
    """Read the block's address, and hold the Python object."""
    at = c.pyapi.object_getattr_string(network, "_at")
    value = cgutils.create_struct_proxy(kind)(c.context, c.builder)
    header = c.builder.inttoptr(c.pyapi.long_as_longlong(at), value.header.type)
    value.header, value.owner = header, network
    value.reference = c.pyapi.nrt_meminfo_new_from_pyobject(c.builder.bitcast(header, cgutils.voidptr_t), network)
    c.pyapi.decref(at)
    return NativeValue(value._getvalue(), is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


@box(NetworkType)
def _box(kind, value, c):
    """Give the Python object back."""
    owner = cgutils.create_struct_proxy(kind)(c.context, c.builder, value=value).owner
    c.pyapi.incref(owner)
    c.context.nrt.decref(c.builder, kind, value)
    return owner


@lower_constant(NetworkType)
def _constant(context, builder, kind, network):
    raise TypeError(
        "a compiled network is a global, a closure variable or a default here; pass it to the function as an argument"
    )


def has_type(networks: type) -> type:
    """Tell Numba the type of a class's instances, by their ``dtype``."""

    @typeof_impl.register(networks)
    def _type_of(network: Any, c) -> NetworkType:
        return network_type(network.dtype)

    return networks
