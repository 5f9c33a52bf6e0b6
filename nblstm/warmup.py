"""Compile ahead: for containers, and for programs whose first call must be quick."""

from __future__ import annotations

from collections.abc import Iterable

from nblstm import validate
from nblstm.cells import gru, gru_with, lstm, rnn_tanh
from nblstm.cells.cell import Cell
from nblstm.device import backend_of, device
from nblstm.validate import DTypeLike

#: The cells of `nn`, and the GRU of `layers`, whose gates have another order.
BUILT_IN = (lstm, gru, gru_with(), rnn_tanh)


def warmup(cells: Cell | Iterable[Cell] = BUILT_IN, dtype: DTypeLike = "float32") -> None:
    """Compile every kernel that networks of these cells can need, and keep them in the cache.

    Parameters
    ----------
    cells : Cell or iterable of Cell
        The LSTM, GRU and tanh RNN of `nn` and of `layers` if not given.
    dtype : {"float32", "float64"}

    Raises
    ------
    TypeError, ValueError
        If something is no cell, or the dtype is another.
    """
    if not isinstance(cells, Cell | Iterable):
        raise TypeError(f"cells is {cells!r}; give a cell made by nblstm.cell, or a list of some")
    chosen = [cells] if isinstance(cells, Cell) else list(cells)
    for one in chosen:
        if not isinstance(one, Cell):
            raise TypeError(f"cells contains {one!r}; give cells made by nblstm.cell, or some of nblstm.cells")
    name = validate.dtype_name(dtype)
    backend = backend_of(device())
    for one in chosen:
        backend.compile_kernels(one, name)
