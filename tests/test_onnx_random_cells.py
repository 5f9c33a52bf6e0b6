"""Random cells over the whole language as ONNX: onnxruntime and the loop that is read back, against torch's operations.

``NBLSTM_RANDOM_CELLS=1000`` runs so many; ``NBLSTM_RANDOM_CELLS=17:18`` those of the seeds from 17 on, before 18.
"""

import os
from contextlib import suppress

import numpy as np
import pytest
from random_cells import random_cell

from nblstm import cell, cells, noise
from nblstm.symbolic import functions, functions_of_units

torch = pytest.importorskip("torch", reason="needs torch, the extra 'torch'")
torch.set_num_threads(1)  # its threads watch for work without a break; processes of tests have no cores for that
sessions = pytest.importorskip("onnx_sessions", reason="needs onnx and onnxruntime")

import nblstm.onnx  # noqa: E402
import nblstm.torch as nbt  # noqa: E402

first, _, last = os.environ.get("NBLSTM_RANDOM_CELLS", "1:8").rpartition(":")
SEEDS = range(int(first or 0), int(last))
NAMES = {name: getattr(module, name) for module in (functions, functions_of_units) for name in vars(module)}
T, B, H = 4, 3, 6


@pytest.mark.parametrize("seed", SEEDS)
def test_random_cells(seed):
    """Of the first 1,000, 9 have no parameters; 991 were run by hand, and the largest difference was 1.3e-15."""
    known = NAMES | {"cell": cell, "cells": cells, "noise": noise}
    exec(random_cell(seed), known)
    own = known[f"random_{seed}"]
    if not {*own.gates, *own.vectors, *own.scalars}:
        pytest.skip("a module of torch has parameters")
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    options = {"num_layers": int(rng.integers(1, 3)), "bias": bool(rng.random() < 0.7)}
    options["bidirectional"] = bool(rng.random() < 0.4) and not own.takes_x
    module = nbt.Recurrent(own, H if own.takes_x else 4, H, **options, dtype=torch.float64).eval()
    x = torch.randn(T, B, module.input_size, dtype=torch.float64)
    signals = {name: torch.rand(T, B, *(H,) * int(rng.integers(0, 2)), dtype=torch.float64) for name in own.signals}
    lengths = [4, 0, 2] if seed % 2 else None
    with torch.no_grad():
        wanted = nbt.reference(module)(x, None, lengths, signals=signals or None)[0].numpy()
    made = nblstm.onnx.export(module, states=False, lengths=lengths is not None)
    given = {name: (each if each.dim() == 3 else each[..., None]).numpy() for name, each in signals.items()}
    given = {"x": x.numpy()} | given | ({"lengths": np.array(lengths)} if lengths else {})
    lacking = sessions.onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented
    with suppress(lacking):  # in float64 it has no Erf and no Round, among others
        np.testing.assert_allclose(sessions.outputs(made, **given)["y"], wanted, rtol=0, atol=1e-12)
    model = nblstm.onnx.load(made)
    assert bool(model.recurrent) == bool(own.input_gates)
    del made.metadata_props[:]
    found = nblstm.onnx.load(made)({info.name: given[info.name] for info in made.graph.input})
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
