"""Answer to a network where Numba asks for a value's type: its compiled form has one."""

from __future__ import annotations

from numba.core.errors import NumbaTypeError
from numba.extending import typeof_impl

from nblstm.nn.recurrent import Recurrent
from nblstm.nn.stack import Stack


@typeof_impl.register(Stack)
@typeof_impl.register(Recurrent)
def _type_of(network: Recurrent | Stack, context) -> None:
    raise NumbaTypeError(
        f"{network!r} is given to a function that Numba compiles; give what its compiled() returns, as an argument"
    )
