"""Networks as ONNX: onnxruntime and onnx's own evaluator compute what the network does."""

import json

import numpy as np
import pytest
from networks import waves
from tolerances import EXPORTED

import nblstm
from nblstm import cells, nn
from nblstm.cells import Cell
from nblstm.symbolic.graph import topological

sessions = pytest.importorskip("onnx_sessions", reason="needs onnx and onnxruntime")
from onnx.reference import ReferenceEvaluator  # noqa: E402

import nblstm.onnx  # noqa: E402

RNG = np.random.default_rng(0)
T, B, I, H = 5, 3, 4, 6


@nblstm.cell(
    gates="a b s", states="m h k", split="s", called="b", vectors="p q", output="h", initial={"h": 0.5, "k": -1}
)
def mixed(a, b, s_x, s_h, m, h, k, p, q):
    """All kinds of gates, an output that does not recur, and a state that is a number."""
    r = nblstm.sigmoid(a + p * m)
    n = nblstm.tanh(b(r * m))
    clipped = nblstm.clip(n * k, -p, p) + nblstm.sqrt(nblstm.abs(h) + 0.1)
    return nblstm.where(n > h, n * q, h * s_x + s_h), clipped, 3.0


@nblstm.cell(gates="α g", states="h c last", called="g", vectors="π")
def ünicode(α, g, h, c, last, π):
    """Names that are no ASCII, an operand that is a number, a state that is a vector."""
    return nblstm.gelu(α) + nblstm.softplus(g(2.0)), nblstm.elu(c) + nblstm.log(1 + nblstm.exp(last * 0.1)), π


def _of_any_name(a, h):
    return nblstm.selu(a) / (2 + nblstm.hard_tanh(h) ** 3) - nblstm.leaky_relu(-h)


_of_any_name.__name__ = "<a b>/'\"é→"
of_any_name = nblstm.cell(gates="a", states="h")(_of_any_name)


@nblstm.cell(gates="n q", states="h", called="n q")
def all_second(n, q, h):
    """No gate of the first product."""
    return nblstm.sigmoid(n(h)) * nblstm.tanh(q(h))


@nblstm.cell(gates="n q", states="h", split="n q")
def all_split(n_x, n_h, q_x, q_h, h):
    """No gate that input and recurrence share."""
    return nblstm.minimum(n_x, n_h) * nblstm.tanh(q_x * q_h) / nblstm.maximum(1.0, nblstm.swish(n_x))


@nblstm.cell(gates="unused g", states="h last n")
def unused(unused, g, h, last, n):
    """A gate without effect, and states whose names are those of other values."""
    return nblstm.clip(g, 0, 6), 1.0, nblstm.softsign(n) * nblstm.hard_sigmoid(g)


OWN = [mixed, ünicode, of_any_name, all_second, all_split, unused, waves]
#: Those that the package imports: what other tests have imported by now is no case of these.
KNOWN = [made for name, made in vars(cells).items() if isinstance(made, Cell) and not cells.is_imported_later(name)]
KNOWN += [cells.recurrent_dropout(cells.lstm), cells.lstm_with("relu", "hard_sigmoid"), cells.gru_with("elu", "tanh")]
KNOWN += [cells.gru_with("softsign", "hard_sigmoid", False), cells.rnn_with("leaky_relu"), cells.lstm_with("selu")]
KNOWN += [cells.rnn_with("softplus"), cells.lstm_with("linear"), cells.rnn_with("gelu")]

NETWORKS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"reverse": True, "batch_first": True, "bias": False},
    {"num_layers": 2, "learn_initial_state": True, "seed": 1},
    {"num_layers": 2, "dtype": "float64"},
]


def compare(network, made, evaluate=sessions.outputs, steps=T, batch=B, states=True, lengths=None):
    """Compare outputs and states on random sequences."""
    x = RNG.normal(size=(batch, steps, I) if network.batch_first else (steps, batch, I)).astype(network.dtype)
    D = 1 + network.bidirectional
    start = [RNG.normal(size=(network.num_layers * D, batch, H)).astype(network.dtype) for _ in network.cell.states]
    names = network.cell.states
    given = {f"{name}_0": value for name, value in zip(names, start, strict=True)} if states else {}
    given |= {} if lengths is None else {"lengths": np.array(lengths)}
    bare = network._bare_state
    y, final = network(x, (start[0] if bare else tuple(start)) if states else None, lengths)
    expected = {"y": y}
    if states:
        expected |= {f"{name}_n": value for name, value in zip(names, [final] if bare else final, strict=True)}
    found = evaluate(made, x=x, **given)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=EXPORTED, err_msg=name)
        assert found[name].dtype == network.dtype


def has_erf(cell):
    """Whether onnxruntime has no operator in float64."""
    return any(node.op == "erf" for node in topological(cell.graph.states))


CASES = [
    pytest.param(cell, options, id=f"{cell.name}-{options}") for cell in (*KNOWN, *OWN) for options in NETWORKS
    if not (has_erf(cell) and options.get("dtype") == "float64")
]  # fmt: skip


@pytest.mark.parametrize("lengths", [None, [5, 0, 3]], ids=["whole", "lengths"])
@pytest.mark.parametrize(("cell", "options"), CASES)
def test_onnxruntime_computes_the_same(cell, options, lengths):
    network = nn.Recurrent(cell, I, H, **{"seed": 0, **options})
    compare(network, nblstm.onnx.export(network, lengths=lengths is not None), lengths=lengths)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("cell", [cells.gru, cells.lstm_peephole, mixed], ids=lambda cell: cell.name)
def test_without_states_and_with_other_numbers_of_steps_and_sequences(cell, options, lengths):
    network = nn.Recurrent(cell, I, H, **{"seed": 0, **options})
    made = nblstm.onnx.export(network, states=False, lengths=lengths)
    for steps, batch in ((T, B), (2, 1), (1, 7)):
        given = RNG.integers(0, steps + 1, batch) if lengths else None
        compare(network, made, steps=steps, batch=batch, states=False, lengths=given)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "batch_first": True}], ids=str)
@pytest.mark.parametrize("cell", [cells.lstm, cells.gru, cells.lstm_coupled, *OWN], ids=lambda cell: cell.name)
def test_onnx_evaluator_computes_the_same(cell, options):
    """It runs forwards only, and no other activations of LSTM, GRU and RNN."""
    network = nn.Recurrent(cell, I, H, seed=0, **options)

    def evaluate(made, **inputs):
        evaluator = ReferenceEvaluator(made)
        return dict(zip(evaluator.output_names, evaluator.run(None, inputs), strict=True))

    compare(network, nblstm.onnx.export(network), evaluate)


@pytest.mark.parametrize("opset", [15, 16, 18, 20, 21])
@pytest.mark.parametrize("cell", [cells.lstm, mixed], ids=lambda cell: cell.name)
def test_versions_of_the_operators(cell, opset):
    network = nn.Recurrent(cell, I, H, seed=0)
    made = nblstm.onnx.export(network, opset=opset, lengths=True)
    assert made.opset_import[0].version == opset
    compare(network, made, lengths=[5, 0, 3])


FORMS = {
    "LSTM": [cells.lstm, cells.lstm_peephole, cells.lstm_with("relu", "hard_sigmoid")],
    "GRU": [cells.gru, cells.gru_reset_before, cells.gru_with("softsign", "tanh"), cells.gru_with("elu", "relu")],
    "RNN": [cells.rnn_tanh, cells.rnn_relu, cells.rnn_with("softplus"), cells.rnn_with("linear")],
    "Scan": [cells.lstm_coupled, cells.lstm_complement, cells.rnn_with("gelu"), *OWN],
}  # fmt: skip


@pytest.mark.parametrize(
    ("operator", "cell"), [(op, cell) for op, found in FORMS.items() for cell in found],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_which_operator_a_cell_becomes(operator, cell):
    assert sessions.operators(nblstm.onnx.export(nn.Recurrent(cell, I, H))) == [operator]


def written_another_way(swap):
    """LSTMs and GRUs whose equations a user has written with other names, orders of gates and of terms."""

    @nblstm.cell(gates="cand out keep write", states="out_h mem", vectors="w")
    def own_lstm(cand, out, keep, write, out_h, mem, w):
        new = nblstm.tanh(cand) * nblstm.sigmoid(write) + mem * nblstm.sigmoid(mem * w + keep)
        return nblstm.tanh(new) * nblstm.sigmoid(out), new

    @nblstm.cell(gates="u n reset", states="s", split="n")
    def own_gru(u, n_x, n_h, reset, s):
        n = nblstm.tanh(n_h * nblstm.sigmoid(reset) + n_x)
        return s * nblstm.sigmoid(u) + n * (1 - nblstm.sigmoid(u))

    @nblstm.cell(gates="a", states="h")
    def own_rnn(a, h):
        return 1.5 * nblstm.tanh(0.5 * a)

    return {"LSTM": own_lstm, "GRU": own_gru, "RNN": own_rnn}[swap]


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_a_cell_of_ones_own_that_is_an_operator(operator):
    network = nn.Recurrent(written_another_way(operator), I, H, 2, bidirectional=True, seed=0)
    for name, value in network.parameters().items():
        value += RNG.normal(size=value.shape, scale=0.3) * ("bias" in name)
    made = nblstm.onnx.export(network)
    assert sessions.operators(made) == [operator] * 2
    compare(network, made)


def test_different_activations_of_gates_are_no_lstm():
    @nblstm.cell(gates="i f g o", states="h c")
    def uneven(i, f, g, o, h, c):
        c = nblstm.sigmoid(f) * c + nblstm.relu(i) * nblstm.tanh(g)
        return nblstm.sigmoid(o) * nblstm.tanh(c), c

    @nblstm.cell(gates="i f g o", states="h c", output="c")
    def memory_out(i, f, g, o, h, c):
        c = nblstm.sigmoid(f) * c + nblstm.sigmoid(i) * nblstm.tanh(g)
        return nblstm.sigmoid(o) * nblstm.tanh(c), c

    @nblstm.cell(gates="i f g o", states="h c", vectors="p q")
    def unread_vector(i, f, g, o, h, c, p, q):
        c = nblstm.sigmoid(f + p * c) * c + nblstm.sigmoid(i) * nblstm.tanh(g)
        return nblstm.sigmoid(o) * nblstm.tanh(c), c

    for cell in (uneven, memory_out, unread_vector):
        network = nn.Recurrent(cell, I, H, seed=0)
        made = nblstm.onnx.export(network)
        assert sessions.operators(made) == ["Scan"]
        compare(network, made)


def test_small_numbers_keep_their_digits():
    """``expm1`` and ``log1p``, which ONNX has not."""

    @nblstm.cell(gates="a", states="h")
    def fine(a, h):
        return 1.1 * nblstm.elu(a, 0.7)

    @nblstm.cell(gates="a", states="h")
    def soft(a, h):
        return nblstm.log(nblstm.softplus(a))

    x = -np.logspace(-6, 1.2, 40, dtype=np.float32)[:, None, None]
    for cell, values in ((fine, x), (soft, 1.2 * x)):
        network = nn.Recurrent(cell, 1, 1, bias=False, seed=0)
        network.load_state_dict({"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.zeros((1, 1))})
        made = nblstm.onnx.export(network, states=False)
        np.testing.assert_allclose(sessions.outputs(made, x=values)["y"], network(values)[0], rtol=3e-6)


def test_inputs_and_outputs_are_named_and_stay_open():
    made = nblstm.onnx.export(nn.LSTM(I, H, 2, batch_first=True, bidirectional=True), lengths=True)

    def shapes(values):
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    assert shapes(made.graph.input) == {
        "x": ["batch", "time", I], "h_0": [4, "batch", H], "c_0": [4, "batch", H], "lengths": ["batch"],
    }  # fmt: skip
    assert shapes(made.graph.output) == {
        "y": ["batch", "time", 2 * H], "h_n": [4, "batch", H], "c_n": [4, "batch", H]
    }  # fmt: skip


def test_a_stream_in_pieces():
    network = nn.Recurrent(mixed, I, H, 2, seed=0)
    made = nblstm.onnx.export(network)
    x = RNG.normal(size=(7, B, I)).astype("float32")
    whole, final = network(x)
    found = {f"{name}_n": np.array(value) for name, value in zip("mhk", network(x[:0])[1], strict=True)}
    pieces = []
    for piece in (x[:3], x[3:4], x[4:]):
        found = sessions.outputs(made, x=piece, **{f"{name}_0": found[f"{name}_n"] for name in "mhk"})
        pieces.append(found["y"])
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=EXPORTED)
    np.testing.assert_allclose(found["h_n"], final[1], atol=EXPORTED)


def test_the_function_carries_the_cells_name_and_equations():
    made = nblstm.onnx.export(nn.Recurrent(mixed, I, H, 2, bidirectional=True))
    assert [function.name for function in made.functions] == ["mixed_operand", "mixed"]
    function = made.functions[1]
    assert list(function.input) == ["a", "b", "s_x", "s_h", "m", "h", "k", "p", "q"]
    assert list(function.output) == ["new_m", "new_h", "new_k"]
    assert "All kinds of gates" in function.doc_string
    assert "new_operand" in function.doc_string
    assert sessions.operators(made) == ["Scan"] * 4
    made = nblstm.onnx.export(nn.LSTM(I, H))
    assert not made.functions
    assert made.producer_name == "nblstm"
    described = json.loads(made.metadata_props[0].value)
    assert (made.metadata_props[0].key, described["class_name"]) == ("nblstm.config", "LSTM")
    assert described["config"]["hidden_size"] == H
    assert cells.pickling.from_data(Cell, described["config"]["cell"]) is cells.lstm


def test_nodes_are_named_after_layers():
    def names(network):
        return [node.name for node in nblstm.onnx.export(network).graph.node if node.op_type in ("LSTM", "Scan")]

    assert names(nn.LSTM(I, H)) == ["LSTM"]
    assert names(nn.LSTM(I, H, 2)) == ["LSTM_l0", "LSTM_l1"]
    assert names(nn.Recurrent(mixed, I, H, bidirectional=True)) == ["mixed_l0", "mixed_l0_reverse"]


def test_no_node_is_there_in_vain():
    for options in ({"states": False}, {"states": False, "lengths": True}, {"lengths": True}):
        made = nblstm.onnx.export(nn.LSTM(I, H), **options)
        read = {name for node in made.graph.node for name in node.input} | {o.name for o in made.graph.output}
        assert all(read & {*node.output} for node in made.graph.node)
        assert {tensor.name for tensor in made.graph.initializer} <= read


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias):
    linear = nn.Linear(I, 2, bias, seed=0)
    x = RNG.normal(size=(B, I)).astype("float32")
    np.testing.assert_allclose(sessions.outputs(nblstm.onnx.export(linear), x=x)["y"], linear(x), atol=1e-6)


def test_modules_of_torch():
    torch = pytest.importorskip("torch", reason="needs torch, the extra 'torch'")
    import nblstm.torch

    module = nblstm.torch.Recurrent(cells.lstm_coupled, I, H, batch_first=True, bidirectional=True)
    x = torch.randn(B, T, I)
    found = sessions.outputs(nblstm.onnx.export(module, states=False), x=x.numpy())["y"]
    np.testing.assert_allclose(found, module(x)[0].detach().numpy(), atol=EXPORTED)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    made = nblstm.onnx.export(nn.GRU(I, H, seed=0), path)
    assert path.read_bytes() == made.SerializeToString()
    assert sessions.onnx.load(path) == made

    def fails(*paths):
        raise OSError("no space")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="no space"):
        nblstm.onnx.export(nn.LSTM(I, H), path)
    assert path.read_bytes() == made.SerializeToString()
    assert list(tmp_path.iterdir()) == [path]


def test_errors(tmp_path):
    network = nn.LSTM(I, H)
    for arguments, error, message in (
        ((3,), TypeError, "export got int; give a network of nblstm.nn, a Sequential"),
        ((nblstm.layers.LSTM(3, name="n"),), TypeError, "the layer 'n'; put it into a Sequential"),
        ((network, tmp_path), IsADirectoryError, "which is a folder"),
        ((network, tmp_path / "none" / "m.onnx"), FileNotFoundError, "there is no folder"),
        ((network, None, 14), ValueError, "opset is 14; give one from 15 to"),
        ((network, None, 99), ValueError, "opset is 99"),
        ((network, None, "17"), TypeError, "opset is '17'"),
        ((network, None, 17, 2), TypeError, "states is 2"),
        ((nn.LSTM(I, H, stateful=True), None, 17, False), ValueError, "the network is stateful, and states=False"),
        ((nblstm.models.Sequential([nblstm.layers.Dense(2)]),), ValueError, "the model is not built"),
    ):
        with pytest.raises(error, match=message.replace("(", r"\(")):
            nblstm.onnx.export(*arguments)
    with pytest.raises(ValueError, match="a Linear has no steps"):
        nblstm.onnx.export(nn.Linear(2, 3), lengths=True)
    assert not list(tmp_path.iterdir())
