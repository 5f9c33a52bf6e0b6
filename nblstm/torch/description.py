"""A network as a text: what torch's operators are given beside tensors, and what exported programs keep."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from nblstm.arguments import validate
from nblstm.buffers.layout import recurrent_layout
from nblstm.cells import pickling
from nblstm.cells.cell import Cell
from nblstm.engine.network import Network
from nblstm.nn.recurrent_arguments import layers_of, projection_of


def network_of(
    cell: Cell, input_size: int, hidden_size: int, num_layers: int, bias: bool, dropout: float, bidirectional: bool,
    dtype: str, proj_size: int = 0,
) -> Network:  # fmt: skip
    """The network of the engine, for batches (T, B, I) on the CPU; with ``proj_size``, of a cell of `projected`."""
    directions = (False, True) if bidirectional else (False,)
    return Network(
        cell=cell, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, directions=directions,
        batch_first=False, dtype=dtype, device="cpu", dropout=dropout, proj_size=proj_size,
        layout=recurrent_layout(
            cell, input_size, hidden_size, num_layers, len(directions), bias, proj_size=proj_size
        ),
    )  # fmt: skip


def described(network: Network) -> str:
    """A network but for its dropout as JSON, the cell as its equations, so that any process can make it."""
    sizes = network.input_size, network.hidden_size, network.num_layers
    bias = not {"bias_ih_l0", "bias_hh_l0"}.isdisjoint(network.layout.shapes)
    return json.dumps({
        "cell": pickling.as_data(network.cell), "sizes": sizes, "bias": bias, "bidirectional": network.D == 2,
        "dtype": network.dtype, "proj_size": network.proj_size,
    })  # fmt: skip


@lru_cache(maxsize=64)
def network_from(description: str, dropout: float = 0.0) -> Network:
    """The network of a text from `described`.

    Raises
    ------
    ValueError
        If it is no such text.
    """
    try:
        found: dict[str, Any] = json.loads(description)
        cell, (I, H, L) = pickling.from_data(Cell, found["cell"]), found["sizes"]
        I, H = validate.positive_integer("I", I), validate.positive_integer("H", H)
        bias, both = (validate.flag(name, found[name]) for name in ("bias", "bidirectional"))
        dtype, proj_size = validate.dtype_name(found["dtype"]), projection_of(found["proj_size"], H)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"a network's description is damaged ({error}); make the file anew") from None
    dropout = validate.probability("dropout", dropout)
    return network_of(cell, I, H, layers_of(L), bias, dropout, both, dtype, proj_size)
