"""Outputs and gradients against torch's, kept in golden/torch.npz by golden/make_golden.py."""

import json
from pathlib import Path

import numpy as np
import pytest
from tolerances import DTYPES, GRADIENT, OUTPUT, assert_close

from nblstm import cells, nn

with np.load(Path(__file__).with_name("golden") / "torch.npz") as archive:
    GOLDEN = {name: archive[name] for name in archive.files}
CASES = json.loads(str(GOLDEN["metadata"]))["cases"]


def cell_named(name):
    return cells.lstm_with("relu", "hard_sigmoid") if name == "lstm_relu_hard_sigmoid" else getattr(cells, name)


def network_and_arrays(case, dtype):
    """The network with the case's parameters; its states and lengths; a function that gives its arrays."""
    fields = CASES[case]
    cell = cell_named(fields["cell"])
    net = nn.Recurrent(
        cell, fields["I"], fields["H"], fields["num_layers"], fields["bias"],
        bidirectional=fields["bidirectional"], dtype=dtype,
    )  # fmt: skip
    prefix = f"{case}/params/"
    net.load_state_dict({name.removeprefix(prefix): v for name, v in GOLDEN.items() if name.startswith(prefix)})
    states = tuple(GOLDEN[f"{case}/states/{name}"] for name in cell.states) if fields["states"] else None
    return net, states, fields["lengths"], lambda name: GOLDEN[f"{case}/{name}"]


def test_there_are_golden_vectors():
    assert len(CASES) >= 50
    assert {fields["cell"] for fields in CASES.values()} >= {"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_peephole"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_outputs(case, dtype):
    net, states, lengths, golden = network_and_arrays(case, dtype)
    y, finals = net(golden("x"), states, lengths)
    assert y.dtype == dtype
    assert_close(y, golden("y"), OUTPUT[dtype])
    for name, final in zip(net.cell.states, finals, strict=True):
        assert_close(final, golden(f"finals/{name}"), OUTPUT[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_gradients(case, dtype):
    net, states, lengths, golden = network_and_arrays(case, dtype)
    y, _, tape = net.forward(golden("x"), states, lengths)
    assert_close(y, golden("y"), OUTPUT[dtype])
    gradients = net.backward(tape, golden("dy"), tuple(golden(f"dstates/{name}") for name in net.cell.states))
    for name, gradient in gradients.params.items():
        assert_close(gradient, golden(f"grads/{name}"), GRADIENT[dtype])
    assert_close(gradients.x, golden("grads/x"), GRADIENT[dtype])
    for name, gradient in zip(net.cell.states, gradients.state, strict=True):
        assert_close(gradient, golden(f"grads/states/{name}"), GRADIENT[dtype])


@pytest.mark.parametrize(("name", "layer"), [("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn_tanh", nn.RNN)])
def test_named_layers_are_those_of_torch(name, layer):
    case = f"{name}_deep"
    fields = CASES[case]
    net = layer(fields["I"], fields["H"], num_layers=2, bidirectional=True, dtype="float64")
    assert list(net.state_dict()) == [key.split("/")[-1] for key in GOLDEN if key.startswith(f"{case}/params/")]
    net.load_state_dict({key: GOLDEN[f"{case}/params/{key}"] for key in net.state_dict()})
    states = tuple(GOLDEN[f"{case}/states/{s}"] for s in net.cell.states)
    y, final = net(GOLDEN[f"{case}/x"], states if name == "lstm" else states[0])
    assert_close(y, GOLDEN[f"{case}/y"], OUTPUT["float64"])
    h_n = final[0] if name == "lstm" else final
    assert_close(h_n, GOLDEN[f"{case}/finals/h"], OUTPUT["float64"])
