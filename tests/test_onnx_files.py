"""Files of torch's exporters and of Keras's, kept with their makers' numbers."""

from pathlib import Path

import numpy as np
import pytest
from messages import message_of

pytest.importorskip("onnx", reason="nblstm.onnx needs the package onnx")

from nblstm import nn
from nblstm.onnx import load

GOLDEN = Path(__file__).parent / "golden"
TORCH, KERAS = (dict(np.load(GOLDEN / f"onnx_{maker}.npz")) for maker in ("torch", "keras"))
TOLERANCE = 2e-6


def arrays_of(golden, prefix):
    names = sorted(name for name in golden if name.startswith(prefix))
    return [golden[name] for name in names]


@pytest.mark.parametrize("file", [name for name in TORCH if name.endswith(" file")])
def test_files_of_torch(file):
    name = file.split()[1]
    model = load(TORCH[file].tobytes())
    results = model(*arrays_of(TORCH, f"{name} input"))
    results = results if isinstance(results, tuple) else (results,)
    wanted = arrays_of(TORCH, f"{name} output")
    for result, expected in zip(results, wanted, strict=True):
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, atol=TOLERANCE, rtol=0)
    assert len(model.recurrent) == {"stepper": 2, "tagger": 2}.get(name, 1)
    assert not model.left


@pytest.mark.parametrize("case", ["lstm", "bidirectional relu", "convolution", "stack"])
def test_files_of_keras(case):
    model = load(KERAS[f"{case} file"].tobytes())
    result, expected = model(KERAS[f"{case} input"]), KERAS[f"{case} output"]
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, atol=TOLERANCE, rtol=0)
    assert all(isinstance(network, nn.Recurrent) for network in model.recurrent.values())
    assert len(model.recurrent) == (2 if case == "stack" else 1)


def test_keras_writes_a_gru_as_a_loop():
    message_of(ValueError, lambda: load(KERAS["gru file"].tobytes()), "(Loop) is an operator that nblstm does not read",
               "Keras models are read from their .keras files")  # fmt: skip
