"""Networks within functions that users compile by Numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nblstm.numba_extension.compiled_network import CompiledNetwork


def compiled(self, batch_size: int = 1) -> CompiledNetwork:
    """Make a value of the network for functions under `numba.njit`, with its parameters as they are now.

    Such a function takes it as an argument and steps with it: ``s = net.zero_state()``, ``y = net.step(x, s)``.

    Parameters
    ----------
    batch_size : int, default 1
        Rows (B) that step together.

    Returns
    -------
    CompiledNetwork
        On the CPU, whichever device the network is on.

    Raises
    ------
    ValueError
        If the network is bidirectional or reads in reverse: it would need the future.
    """
    from nblstm.numba_extension.compiled_network import CompiledNetwork
    from nblstm.numba_extension.recurrent_part import RecurrentPart

    return CompiledNetwork([RecurrentPart.of(self)], batch_size, "bare" if self._bare_state else "tuple")
