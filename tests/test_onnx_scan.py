"""Scans of ONNX files: any body by a loop, beside onnxruntime; those of exported cells as networks."""

import copy
import json
import pickle

import numpy as np
import pytest
from messages import message_of

import nblstm
from nblstm import cells, layers, nn
from nblstm.models import Sequential

sessions = pytest.importorskip("onnx_sessions", reason="needs onnx and onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from test_onnx_export import KNOWN, NETWORKS, OWN  # noqa: E402

import nblstm.onnx  # noqa: E402
from nblstm.onnx import limits, load  # noqa: E402
from nblstm.onnx.exporting.equations import CELLS  # noqa: E402

RNG = np.random.default_rng(0)
T, B, I, H = 5, 3, 4, 6
FLOAT = TensorProto.FLOAT


def info(name, shape=None, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def described_nowhere(made):
    """The same file without what says of which cells its Scans are."""
    made = copy.deepcopy(made)
    del made.metadata_props[:]
    return made


def inputs_of(network, **others):
    shape = network.num_layers * (1 + network.bidirectional), B, network.hidden_size
    states = {f"{name}_0": RNG.normal(size=shape).astype(network.dtype) for name in network.cell.states}
    x = RNG.normal(size=(T, B, I)).astype(network.dtype)
    return {"x": x.swapaxes(0, 1) if network.batch_first else x, **states, **others}


# --- cells that were exported -------------------------------------------------------------------------


@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("cell", [*KNOWN, *OWN], ids=lambda cell: cell.name)
def test_every_cell_comes_back(cell, options):
    """As networks with the cell itself, which compute the network's bits; and as a loop."""
    network = nn.Recurrent(cell, I, H, **({"seed": 0} | options))
    for name, value in network.parameters().items():
        value += RNG.normal(size=value.shape, scale=0.2) * ("bias" in name)
    made = nblstm.onnx.export(network, lengths=True)
    model = load(made)
    given = inputs_of(network, lengths=RNG.integers(0, T + 1, B))
    y, states = network(given["x"], tuple(given[f"{n}_0"] for n in cell.states), lengths=given["lengths"])
    for result, wanted in zip(model(given), (y, *states), strict=True):
        assert result.dtype == wanted.dtype
        np.testing.assert_allclose(result, wanted, atol=1e-6, rtol=1e-6)
    assert not model.left
    if "Scan" in sessions.operators(made):
        assert len(model.recurrent) == network.num_layers * (1 + network.bidirectional)
        assert all(found.cell is cell for found in model.recurrent.values())
        if not options.get("num_layers"):
            loop = load(described_nowhere(made))
            assert not loop.recurrent
            for result, wanted in zip(loop(given), (y, *states), strict=True):
                np.testing.assert_allclose(result, wanted, atol=2e-6, rtol=2e-6)
