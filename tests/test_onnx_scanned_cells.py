"""Scans that nblstm has exported come back as networks, if they compute what they say."""

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
from onnx import TensorProto, helper  # noqa: E402
from test_onnx_export import KNOWN, NETWORKS, OWN  # noqa: E402

import nblstm.onnx  # noqa: E402
from nblstm.onnx import load  # noqa: E402
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


CASES = [(cell, {}) for cell in [*KNOWN, *OWN]]
CASES += [(cell, options) for cell in (cells.lstm_coupled, *OWN[:4]) for options in NETWORKS[1:]]


@pytest.mark.parametrize(("cell", "options"), CASES, ids=lambda value: getattr(value, "name", str(value)))
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


def test_a_process_that_does_not_know_the_cell(tmp_path):
    """Equations come from the file's text, once it is checked; training and export go on from there."""
    from processes import run_python

    network = nn.Recurrent(OWN[0], I, H, seed=0)
    x = RNG.normal(size=(T, B, I)).astype("float32")
    nblstm.onnx.export(network, tmp_path / "m.onnx", states=False)
    np.savez(tmp_path / "x.npz", x=x, y=network(x)[0])
    run_python(
        "import numpy as np, nblstm.onnx\n"
        f"model, found = nblstm.onnx.load({str(tmp_path / 'm.onnx')!r}), np.load({str(tmp_path / 'x.npz')!r})\n"
        "network = model.recurrent['mixed_l0']\n"
        "assert network.cell.name == 'mixed' and network.cell.initial == (0, 0.5, -1)\n"
        "assert np.array_equal(model(found['x']), found['y'])\n"
        "again = nblstm.onnx.load(nblstm.onnx.export(network, states=False))\n"
        "assert np.array_equal(again(found['x']), found['y'])\n"
        "network.flat_parameters()[:] *= 0.5\n"
        "assert not np.allclose(model(found['x']), found['y'])\n"
    )


@pytest.mark.parametrize("options", [{}, {"return_sequences": True}], ids=str)
def test_models(options):
    model = Sequential(
        [
            layers.Masking(), layers.RNN(OWN[3], 4, return_sequences=True),
            layers.Bidirectional(layers.RNN(cells.lstm_coupled, 3, **options)), layers.Dense(2),
        ],
        seed=0,
    )  # fmt: skip
    model.build((None, None, 3))
    x = RNG.normal(size=(B, 6, 3)).astype("float32")
    x[1, 2:4] = x[2] = 0
    made = nblstm.onnx.export(model)
    for source, count in ((made, 3), (described_nowhere(made), 0)):
        again = load(source)
        assert len(again.recurrent) == count
        np.testing.assert_allclose(again(x), model.predict(x), atol=1e-6)
    copied = pickle.loads(pickle.dumps(again))
    np.testing.assert_allclose(copied(x), model.predict(x), atol=1e-6)


def test_two_cells_of_one_name():
    def made_with(function):
        @nblstm.cell(gates="a", states="h")
        def own(a, h):
            return function(a) * 0.5 + h * 0.25

        return own

    recurrent = [layers.RNN(made_with(f), 4, return_sequences=True) for f in (nblstm.tanh, nblstm.sigmoid)]
    model = Sequential(recurrent, seed=0)
    model.build((None, None, 3))
    again = load(nblstm.onnx.export(model))
    assert [network.cell for network in again.recurrent.values()] == [layer.cell for layer in recurrent]
    x = RNG.normal(size=(B, T, 3)).astype("float32")
    np.testing.assert_allclose(again(x), model.predict(x), atol=1e-6)


def changed(made, change):
    made = copy.deepcopy(made)
    change(made)
    return made


def scan_of(made):
    return next(node for node in made.graph.node if node.op_type == "Scan")


def body_of(made):
    return next(each.g for each in scan_of(made).attribute if each.name == "body")


def _swap_states(made):
    body = body_of(made)
    body.output[0].name, body.output[1].name = body.output[1].name, body.output[0].name


def _other_operator(made):
    for node in made.functions[0].node:
        if node.op_type == "Tanh":
            node.op_type = "Sigmoid"


def _read_twice(made):
    """A body whose state has the name of its weights outside."""
    body = body_of(made)
    product = next(node for node in body.node if node.op_type == "MatMul")
    body.input[0].name = product.input[0] = product.input[1]


def _cells(**described):
    def change(made):
        for entry in made.metadata_props:
            if entry.key == CELLS:
                entry.value = json.dumps(described)

    return change


def _backwards(made):
    for each in scan_of(made).attribute:
        if each.name == "scan_output_directions":
            each.ints[0] = 1 - each.ints[0]


@pytest.mark.parametrize("change", [_swap_states, _other_operator, _backwards, _cells(lstm_coupled="lstm_complement")])
def test_a_scan_that_is_something_else_runs_as_it_is(change):
    """The file says that it is a cell, and computes another thing: the file's nodes count."""
    network = nn.Recurrent(cells.lstm_coupled, I, H, seed=0)
    made = changed(nblstm.onnx.export(network), change)
    model, given = load(made), inputs_of(network)
    assert not model.recurrent
    assert "its nodes are not those that nblstm writes for the cell" in model.left["lstm_coupled_l0"]
    for result, wanted in zip(model(given), sessions.outputs(made, **given).values(), strict=True):
        np.testing.assert_allclose(result, wanted, atol=1e-6)


@pytest.mark.parametrize(("described", "said"), [
    ("no_such_cell", "there is no cell named 'no_such_cell'"),
    ({"declared": [], "equations": "", "doc": None}, "cannot be read"),
    ({"declared": ["a", ["a"], ["h"], [], [], [], "h", [0]], "equations": "import os", "doc": None}, "'import os'"),
    ({"declared": ["a", ["a"], ["h"], [], [], [], "h", [0]],
      "equations": "def equations(a, h):\n    new_h = __import__('os').system('')\n    return new_h\n",
      "doc": None},
     "which nblstm does not write"),
    (7, "cannot be read"),
])  # fmt: skip
def test_descriptions_that_are_none(described, said):
    """Text of a file is arithmetic, or the Scan runs as it is."""
    network = nn.Recurrent(cells.lstm_coupled, I, H, seed=0)
    model = load(changed(nblstm.onnx.export(network), _cells(lstm_coupled=described)))
    assert said in model.left["lstm_coupled_l0"]
    assert not model.recurrent
    assert model(inputs_of(network))[0].shape == (T, B, H)


def test_names_that_hide_others():
    network = nn.Recurrent(cells.lstm_coupled, I, H, seed=0)
    made = changed(nblstm.onnx.export(network), _read_twice)
    message_of(ValueError, lambda: load(made), "there are two arrays named 'R_l0'")
