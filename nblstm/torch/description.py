"""A network as a text: what torch's operators are given beside tensors, and what exported programs keep."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from nblstm.buffers.layout import recurrent_layout
from nblstm.cells import pickling
from nblstm.cells.cell import Cell
from nblstm.engine.network import Network


def network_of(
    cell: Cell, input_size: int, hidden_size: int, num_layers: int, bias: bool, dropout: float, bidirectional: bool,
    dtype: str,
) -> Network:  # fmt: skip
    """The network of the engine, for batches (T, B, I) on the CPU."""
    directions = (False, True) if bidirectional else (False,)
    return Network(
        cell=cell, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, directions=directions,
        batch_first=False, dtype=dtype, device="cpu", dropout=dropout,
        layout=recurrent_layout(cell, input_size, hidden_size, num_layers, len(directions), bias),
    )  # fmt: skip


def described(network: Network) -> str:
    """A network as JSON, the cell as its equations, so that any process can make it."""
    sizes = network.input_size, network.hidden_size, network.num_layers
    bias = "bias_ih_l0" in network.layout.shapes
    return json.dumps({
        "cell": pickling.as_data(network.cell), "sizes": sizes, "bias": bias, "dropout": network.dropout,
        "bidirectional": network.D == 2, "dtype": network.dtype,
    })  # fmt: skip


@lru_cache(maxsize=64)
def network_from(description: str) -> Network:
    """The network of a text from `described`.

    Raises
    ------
    ValueError
        If it is no such text.
    """
    found: dict[str, Any] = json.loads(description)
    cell, sizes = pickling.from_data(Cell, found.pop("cell")), found.pop("sizes")
    return network_of(cell, *sizes, **found)
