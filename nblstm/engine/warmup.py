"""Compile ahead: for containers, and for programs whose first call must be quick."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nblstm.arguments import validate
from nblstm.arguments.validate import DTypeLike
from nblstm.cells import gru, lstm, rnn_tanh
from nblstm.cells.cell import Cell
from nblstm.engine.device import backend_of, device

#: The cells of `nn` and of `layers`.
BUILT_IN = (lstm, gru, rnn_tanh)


def warmup(cells: Any = BUILT_IN, dtype: DTypeLike = "float32") -> None:
    """Compile every kernel that networks of some cells, or models, can need, and keep them in the cache.

    Parameters
    ----------
    cells : Cell, network, layer or model, or an iterable of some
        The LSTM, GRU and tanh RNN of `nn` and of `layers` if not given. A network, layer or model has a dtype of its
        own; of a model that is compiled, optimizer and loss are compiled too.
    dtype : {"float32", "float64"}
        Of the networks of cells.

    Raises
    ------
    TypeError, ValueError
        If something is none of these, or the dtype is another.
    """
    if not isinstance(cells, Cell | Iterable) and not _compiles(cells):
        raise TypeError(f"cells is {cells!r}; give a cell made by nblstm.cell, a network, a model, or some of them")
    chosen = [cells] if isinstance(cells, Cell) or _compiles(cells) else list(cells)
    for one in chosen:
        if not isinstance(one, Cell) and not _compiles(one):
            raise TypeError(f"cells contains {one!r}; give cells, made by nblstm.cell or of nblstm.cells, or models")
    name = validate.dtype_name(dtype)
    for one in chosen:
        if isinstance(one, Cell):
            backend_of(device()).compile_kernels(one, name)
        else:
            one.warmup()


def _compiles(value) -> bool:
    """Tell whether a value compiles its own kernels, as a network, layer or model does."""
    return callable(getattr(value, "warmup", None)) and not isinstance(value, type)
