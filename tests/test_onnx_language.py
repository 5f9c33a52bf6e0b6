"""Cells of the whole language as ONNX: onnxruntime computes what the network does, and files come back as networks."""

import copy

import numpy as np
import pytest
from language_cells import CELLS, fast, headed, highway, no_input, noisy, normed, still, sums, three_stages, timed
from messages import message_of
from tolerances import EXPORTED

import nblstm
from nblstm import cells, layers, nn
from nblstm.models import Sequential

sessions = pytest.importorskip("onnx_sessions", reason="needs onnx and onnxruntime")
from onnx.reference import ReferenceEvaluator  # noqa: E402

import nblstm.onnx  # noqa: E402
from nblstm.onnx import load  # noqa: E402

RNG = np.random.default_rng(0)
T, B, I, H = 5, 3, 4, 6
NETWORKS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"reverse": True, "batch_first": True, "bias": False},
    {"num_layers": 2, "learn_initial_state": True, "dtype": "float64"},
]


@nblstm.cell(gates="a b", states="h", called="a b")
def halved(a, b, h):
    a = nblstm.sigmoid(a(h / 2))
    return nblstm.tanh(a + b(a * h))


PROJECTED = [cells.lstm, cells.gru, cells.rnn_tanh, cells.lstm_peephole, timed, normed, noisy, highway]
PROJECTED += [cells.gru_reset_before, three_stages, cells.gru_reset_before.with_matrix(cells.low_rank(2)), halved]


def network_of(own, **options):
    if own.takes_x:
        options.pop("bidirectional", None)
        if options.get("proj_size"):
            options.pop("num_layers", None)
    network = nn.Recurrent(own, H if own.takes_x else I, H, **{"seed": 0} | options)
    for name, value in network.parameters().items():
        value += RNG.normal(size=value.shape, scale=0.2) * ("bias" in name)
    return network


def given_of(network, lengths=None, wide=(False, True)):
    """Inputs of the file, and the arguments of the network."""
    shape = (B, T) if network.batch_first else (T, B)
    dtype, run = network.dtype, network._network
    x = RNG.normal(size=(*shape, network.input_size)).astype(dtype)
    states = [RNG.normal(size=(run.num_layers * run.D, B, size)).astype(dtype) for size in run.state_sizes]
    signals = {
        name: RNG.random((*shape, *(H,) * each)).astype(dtype)
        for name, each in zip(run.cell.signals, wide, strict=False)
    }
    given = {"x": x} | {f"{name}_0": state for name, state in zip(run.cell.states, states, strict=True)}
    given |= {name: value if value.ndim == 3 else value[..., None] for name, value in signals.items()}
    given |= {} if lengths is None else {"lengths": np.array(lengths)}
    state = states[0] if network._bare_state else tuple(states)
    return given, {"x": x, "state": state, "lengths": lengths, "signals": signals or None}


def wanted_of(network, arguments):
    y, states = network(**arguments)
    states = [states] if network._bare_state else states
    return {"y": y} | {f"{name}_n": state for name, state in zip(network._network.cell.states, states, strict=True)}


def alike(found, wanted, bound=EXPORTED):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype)
        np.testing.assert_allclose(found[name], value, rtol=0, atol=bound, err_msg=name)


def ordered(made, given):
    return {info.name: given[info.name] for info in made.graph.input}


def loaded(made, given):
    model = load(made)
    return model, dict(zip([info.name for info in model.outputs], model(given), strict=True))


def described_nowhere(made):
    made = copy.deepcopy(made)
    del made.metadata_props[:]
    return made


def check(network, lengths, cell):
    """Onnxruntime, the network that is read back, and the loop that is read where no cell is named."""
    made = nblstm.onnx.export(network, lengths=lengths is not None)
    given, arguments = given_of(network, lengths)
    given, wanted = ordered(made, given), wanted_of(network, arguments)
    alike(sessions.outputs(made, **given), wanted)
    model, found = loaded(made, given)
    alike(found, wanted)
    if cell.input_gates:
        assert len(model.recurrent) == network.num_layers * (1 + network.bidirectional)
        for each in model.recurrent.values():
            assert (each.cell is cell) == (cell.matrix is None)
            assert each.proj_size == network.proj_size
    else:
        assert all("no gates that the input feeds" in reason for reason in model.left.values())
    loop, found = loaded(described_nowhere(made), given)
    assert not loop.recurrent
    alike(found, wanted)
    return made


@pytest.mark.parametrize("lengths", [None, [5, 0, 3]], ids=["whole", "lengths"])
@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("own", CELLS, ids=lambda own: own.name)
def test_every_runtime_computes_the_same(own, options, lengths):
    check(network_of(own, **options), lengths, own)


@pytest.mark.parametrize("lengths", [None, [5, 0, 3]], ids=["whole", "lengths"])
@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("own", PROJECTED, ids=lambda own: own.name)
def test_projections(own, options, lengths):
    made = check(network_of(own, **options, proj_size=2), lengths, own)
    assert set(sessions.operators(made)) == {"Scan"}


@pytest.mark.parametrize("own", [three_stages, highway, normed, sums, no_input], ids=lambda own: own.name)
def test_onnx_evaluator_computes_the_same(own):
    network = network_of(own, num_layers=2)
    made = nblstm.onnx.export(network)
    given, arguments = given_of(network)
    evaluator = ReferenceEvaluator(made)
    found = evaluator.run(None, given)
    alike(dict(zip(evaluator.output_names, found, strict=True)), wanted_of(network, arguments))


@pytest.mark.parametrize("opset", [15, 16, 18, 21])
def test_versions_of_the_operators(opset):
    network = network_of(sums)
    made = nblstm.onnx.export(network, opset=opset)
    given, arguments = given_of(network)
    alike(sessions.outputs(made, **given), wanted_of(network, arguments))
    alike(loaded(made, ordered(made, given))[1], wanted_of(network, arguments))


def test_signals_with_one_number_or_one_for_each_unit():
    network = network_of(timed, num_layers=2)
    made = nblstm.onnx.export(network)
    assert [info.name for info in made.graph.input] == ["x", "dt", "keep", "h_0"]
    for wide in ((False, False), (True, False), (True, True)):
        given, arguments = given_of(network, wide=wide)
        alike(sessions.outputs(made, **given), wanted_of(network, arguments))
        alike(loaded(made, ordered(made, given))[1], wanted_of(network, arguments))
    given["dt"] = given["dt"][..., 0]
    message_of(ValueError, lambda: load(made)(ordered(made, given)), "dt", "dimensions")


def test_names_of_signals_that_are_taken():
    @nblstm.cell(gates="a", states="h", signals="lengths h_0 y")
    def hidden(a, h, lengths, h_0, y):
        return nblstm.tanh(a + lengths * h_0) * y

    network = network_of(hidden)
    made = nblstm.onnx.export(network, lengths=True)
    assert [info.name for info in made.graph.input] == ["x", "lengths_2", "h_0_2", "y_2", "h_0", "lengths"]
    x, signals = RNG.normal(size=(T, B, I)).astype("f4"), RNG.random((3, T, B, 1)).astype("f4")
    zeros, lengths = np.zeros((1, B, H), "f4"), np.array([5, 0, 3])
    found = sessions.outputs(
        made, x=x, lengths_2=signals[0], h_0_2=signals[1], y_2=signals[2], h_0=zeros, lengths=lengths
    )
    named = dict(zip(hidden.signals, signals[..., 0], strict=True))
    np.testing.assert_allclose(found["y"], network(x, lengths=lengths, signals=named)[0], atol=EXPORTED)


@pytest.mark.parametrize("own", [still, headed, fast], ids=lambda own: own.name)
def test_matrices_are_written_as_they_are_multiplied(own):
    network = network_of(own)
    made = nblstm.onnx.export(network, states=False)
    model = load(made)
    (found,) = model.recurrent.values()
    assert found.cell.matrix is None
    assert found.cell.gates == own.gates
    x = RNG.normal(size=(T, B, I)).astype("float32")
    np.testing.assert_allclose(model(x), network(x)[0], atol=EXPORTED)
    found.flat_parameters()[:] *= 0.5
    assert not np.allclose(model(x), network(x)[0])


def test_noise_comes_back():
    """A file computes inference, and its network can be trained with the noise of the cell."""
    network = network_of(noisy)
    (found,) = load(nblstm.onnx.export(network)).recurrent.values()
    assert found.cell is noisy
    x = RNG.normal(size=(T, B, I)).astype("float32")
    assert not np.array_equal(found.forward(x)[0], found.forward(x)[0])


def test_models():
    model = Sequential([layers.RNN(three_stages, 5, return_sequences=True), layers.RNN(still, 4)], seed=0)
    model.build((None, None, 3))
    x = RNG.normal(size=(B, T, 3)).astype("float32")
    made = nblstm.onnx.export(model)
    np.testing.assert_allclose(sessions.outputs(made, x=x)["y"], model.predict(x), atol=EXPORTED)
    again = load(made)
    assert len(again.recurrent) == 2
    np.testing.assert_allclose(again(x), model.predict(x), atol=EXPORTED)


def test_modules_of_torch():
    torch = pytest.importorskip("torch", reason="needs torch, the extra 'torch'")
    import nblstm.torch

    torch.manual_seed(0)
    module = nblstm.torch.Recurrent(timed, I, H, 2, proj_size=3)
    x, signals = torch.randn(T, B, I), {name: torch.rand(T, B) for name in timed.signals}
    given = {name: value[..., None].numpy() for name, value in signals.items()}
    found = sessions.outputs(nblstm.onnx.export(module, states=False), x=x.numpy(), **given)["y"]
    np.testing.assert_allclose(found, module(x, signals=signals)[0].detach().numpy(), atol=EXPORTED)


@pytest.mark.parametrize("uses", ["signals", "sums", "scalars"])
def test_lstms_with_more_are_no_lstm(uses):
    more = {"signals": {"signals": "u"}, "sums": {}, "scalars": {"scalars": "u"}}[uses]

    def equations(i, f, g, o, h, c, u=0.0):
        c = nblstm.sigmoid(f) * c + nblstm.sigmoid(i) * nblstm.tanh(g)
        return nblstm.sigmoid(o) * nblstm.tanh(c), c

    if uses == "sums":

        def two_arguments(i, f, g, o, h, c):
            nblstm.mean(h)
            return equations(i, f, g, o, h, c)

        own = nblstm.cell(gates="i f g o", states="h c")(two_arguments)
    else:
        own = nblstm.cell(gates="i f g o", states="h c", **more)(equations)
    network = network_of(own)
    made = nblstm.onnx.export(network)
    assert sessions.operators(made) == ["Scan"]
    given, arguments = given_of(network)
    alike(sessions.outputs(made, **given), wanted_of(network, arguments))


def test_models_have_no_signals():
    model = Sequential([layers.RNN(timed, 5, signals={"dt": 1, "keep": 2})], seed=0)
    model.build((None, None, 3))
    message_of(ValueError, lambda: nblstm.onnx.export(model), "has a cell with signals, dt, keep")
