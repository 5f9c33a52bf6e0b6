"""LSTM, GRU and RNN nodes of ONNX, beside onnxruntime, over all attributes."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from messages import message_of

pytest.importorskip("onnx", reason="nblstm.onnx needs the package onnx")
# Older ones abort the process where an RNN has a sequence of length 0.
pytest.importorskip("onnxruntime", "1.30", reason="the oracle of ONNX nodes, from version 1.30 on")

from onnx_nodes import ACTIVATIONS, BLOCKS, USUAL, as_tuple, inputs_of, model_of, random_node, runtimes

from nblstm import nn
from nblstm.onnx import load

#: 500 seeds were run by hand; each that has another cell takes 0.15 s to compile. All agree but 283, whose states grow
#: to 4e25: onnxruntime's Softplus of more than 88 is inf there, and the equations in float64 agree with nblstm to 1e-5.
SEEDS = range(60)
TOLERANCE = 2e-5


def assert_alike(results, expected, tolerance=TOLERANCE):
    results = as_tuple(results)
    assert [result.shape for result in results] == [wanted.shape for wanted in expected]
    for result, wanted in zip(results, expected, strict=True):
        assert result.dtype == wanted.dtype
        np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_nodes(seed):
    kind, attributes, arrays, outputs = random_node(seed)
    model = model_of(kind, attributes, arrays, outputs)
    assert_alike(load(model)(inputs_of(model, arrays)), runtimes(model, arrays))


def usual(kind="LSTM", seed=0, direction="bidirectional", **attributes):
    """A node with everything that is optional, and usual activations."""
    chance = np.random.default_rng(seed)
    T, B, I, H, D, G = 5, 3, 2, 4, 1 + (direction == "bidirectional"), BLOCKS[kind]
    shapes = {"X": (T, B, I), "W": (D, G * H, I), "R": (D, G * H, H), "B": (D, 2 * G * H), "initial_h": (D, B, H)}
    if kind == "LSTM":
        shapes |= {"initial_c": (D, B, H), "P": (D, 3 * H)}
    arrays = {name: chance.normal(scale=0.5, size=shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["sequence_lens"] = np.array([5, 0, 3], np.int32)
    outputs = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    return kind, {"hidden_size": H, "direction": direction, **attributes}, arrays, outputs


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_layout_1(kind, direction):
    """Batch first; onnxruntime has no such nodes, so the oracle is the node of layout 0."""
    kind, attributes, arrays, outputs = usual(kind, direction=direction)
    model = model_of(kind, attributes, arrays, outputs)
    Y, *states = load(model)(inputs_of(model, arrays))
    swapped = {name: value.swapaxes(0, 1) if name in ("X", "initial_h", "initial_c") else value
               for name, value in arrays.items()}  # fmt: skip
    model = model_of(kind, attributes | {"layout": 1}, swapped, outputs)
    Y_1, *states_1 = load(model)(inputs_of(model, swapped))
    assert np.array_equal(Y_1, Y.transpose(2, 0, 1, 3))
    for one, other in zip(states, states_1, strict=True):
        assert np.array_equal(other, one.swapaxes(0, 1))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float16, 3e-3)])
@pytest.mark.parametrize("kind", BLOCKS)
def test_other_dtypes(kind, dtype, tolerance):
    kind, attributes, arrays, outputs = usual(kind)
    wanted = runtimes(model_of(kind, attributes, arrays, outputs), arrays)
    cast = {name: value.astype(dtype) if value.dtype == np.float32 else value for name, value in arrays.items()}
    model = model_of(kind, attributes, cast, outputs, dtype=dtype)
    results = load(model)(inputs_of(model, cast))
    assert all(result.dtype == dtype for result in results)
    assert_alike([result.astype(np.float32) for result in results], wanted, tolerance)


@pytest.mark.parametrize("kind", BLOCKS)
def test_optional_outputs(kind):
    kind, attributes, arrays, outputs = usual(kind)
    everything = dict(zip(outputs, runtimes(model_of(kind, attributes, arrays, outputs), arrays), strict=True))
    for wanted in (["Y"], ["", "Y_h"], *([["", "", "Y_c"], ["Y", "", "Y_c"]] if kind == "LSTM" else [])):
        model = model_of(kind, attributes, arrays, wanted)
        assert_alike(load(model)(inputs_of(model, arrays)), [everything[name] for name in wanted if name])


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("computed", ["W", "R", "B"])
def test_weights_that_are_inputs(kind, computed):
    """Weights that each call gives are computed with, and no network has them."""
    kind, attributes, arrays, outputs = usual(kind)
    constant = {"W", "R", "B", "P"} - {computed}
    model = load(model_of(kind, attributes, arrays, outputs, constant))
    assert not model.recurrent
    assert model.left == {
        "the node": f"{computed} of it: computed in each call, or an input of the model, and no constant that could be "
        "trained"
    }
    for seed in range(2):
        arrays = usual(kind, seed)[2] | {name: arrays[name] for name in constant & set(arrays)}
        whole = model_of(kind, attributes, arrays, outputs, constant)
        assert_alike(model(inputs_of(whole, arrays)), runtimes(whole, arrays))


@pytest.mark.parametrize(("kind", "attributes", "shown"), [
    ("LSTM", {}, "LSTM(2, 4, bidirectional=True)"),
    ("GRU", {"linear_before_reset": 1}, "GRU(2, 4, bidirectional=True)"),
    ("GRU", {}, "Recurrent(gru_reset_before, 2, 4, bidirectional=True)"),
    ("RNN", {}, "RNN(2, 4, bidirectional=True)"),
    ("RNN", {"activations": ["Relu", "Relu"]}, "RNN(2, 4, nonlinearity='relu', bidirectional=True)"),
    ("LSTM", {"clip": 0.5}, "Recurrent(onnx_lstm, 2, 4, bidirectional=True)"),
])  # fmt: skip
def test_networks_are_trainable(kind, attributes, shown):
    """A change to a network's parameters is a change to the model's weights."""
    kind, attributes, arrays, outputs = usual(kind, **attributes)
    if kind == "LSTM" and "clip" not in attributes:
        del arrays["P"]
    model = load(model_of(kind, attributes, arrays, outputs))
    network = model.recurrent["the node"]
    assert repr(network) == shown
    before = model(inputs_of(model_of(kind, attributes, arrays, outputs), arrays))
    network.parameters()["bias_ih_l0"][:] += 0.25
    changed = {**arrays, "B": arrays["B"].copy()}
    changed["B"][0, : BLOCKS[kind] * 4] += 0.25
    altered = model_of(kind, attributes, changed, outputs)
    after = model(inputs_of(altered, changed))
    assert not np.array_equal(before[0], after[0])
    assert_alike(after, runtimes(altered, changed))


def test_training_reduces_a_loss():
    kind, attributes, arrays, _ = usual("LSTM", direction="forward")
    del arrays["sequence_lens"]
    definition = model_of(kind, attributes, arrays, ["Y"])
    model, inputs = load(definition), inputs_of(definition, arrays)
    network, target = model.recurrent["the node"], np.zeros((5, 3, 4), np.float32)
    losses = []
    for _ in range(20):
        losses.append(float(np.mean((model(inputs)[:, 0] - target) ** 2)))
        states = tuple(inputs[name] for name in ("initial_h", "initial_c"))
        y, _, tape = network.forward(inputs["X"], states)
        network.flat_parameters()[:] -= 2 * network.backward(tape, 2 * (y - target) / y.size).flat
    assert losses[-1] < 0.5 * losses[0]


def test_directions_with_activations_of_their_own():
    activations = ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Relu", "Softsign"]
    kind, attributes, arrays, outputs = usual("LSTM", activations=activations)
    definition = model_of(kind, attributes, arrays, outputs)
    model = load(definition)
    assert list(model.recurrent) == ["the node.forward", "the node.reverse"]
    assert [network.reverse for network in model.recurrent.values()] == [False, True]
    assert_alike(model(inputs_of(definition, arrays)), runtimes(definition, arrays))


@pytest.mark.parametrize("kind", BLOCKS)
def test_sequences_of_no_steps(kind):
    """Their states are zeros, as in onnxruntime, or with a flag the initial ones, as in nblstm."""
    kind, attributes, arrays, outputs = usual(kind)
    definition = model_of(kind, attributes, arrays, outputs)
    inputs = inputs_of(definition, arrays)
    zero, kept = load(definition)(inputs), load(definition, empty_sequences="initial")(inputs)
    for name, one, other in zip(("initial_h", "initial_c"), zero[1:], kept[1:], strict=False):
        assert not one[:, 1].any()
        assert np.array_equal(other[:, 1], arrays[name][:, 1])
        assert np.array_equal(one[:, [0, 2]], other[:, [0, 2]])
    inputs["sequence_lens"] = np.zeros(3, np.int32)
    assert_alike(load(definition)(inputs), runtimes(definition, arrays | inputs))
    inputs["sequence_lens"] = np.array([5, 6, 1], np.int32)
    message_of(ValueError, lambda: load(definition)(inputs), "node 'the node'", "lengths contains 6; x has 5 steps")


def test_networks_of_no_steps_at_all():
    kind, attributes, arrays, outputs = usual()
    arrays = arrays | {"X": np.zeros((0, 3, 2), np.float32)}
    del arrays["sequence_lens"]
    definition = model_of(kind, attributes, arrays, outputs)
    Y, h, c = load(definition)(inputs_of(definition, arrays))
    assert Y.shape == (0, 2, 3, 4)
    assert not h.any()
    assert not c.any()
    Y, h, c = load(definition, empty_sequences="initial")(inputs_of(definition, arrays))
    assert np.array_equal(c, arrays["initial_c"])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_alpha_and_beta_that_are_not_given(name):
    """The defaults are onnxruntime's; where these are not ONNX's own, there is a warning."""
    kind, attributes, arrays, outputs = usual("RNN", activations=[name, "Tanh"])
    definition = model_of(kind, attributes, arrays, outputs)
    if name in ("Affine", "ScaledTanh", "ThresholdedRelu"):
        with pytest.warns(
            UserWarning, match=rf"node 'the node' \(RNN\) has the activation {name} and no alpha or beta"
        ):
            model = load(definition)
    else:
        model = load(definition)
    assert_alike(model(inputs_of(definition, arrays)), runtimes(definition, arrays))


def test_more_values_than_activations_take():
    kind, attributes, arrays, outputs = usual(
        "RNN", activations=["LeakyRelu", "Tanh"], activation_alpha=[0.5, 0.25, 0.125]
    )
    definition = model_of(kind, attributes, arrays, outputs)
    with pytest.warns(UserWarning, match="has 2 more activation_alpha than its activations take"):
        model = load(definition)
    assert_alike(model(inputs_of(definition, arrays)), runtimes(definition, arrays))


BAD = {
    "direction is 'sideways'": {"direction": "sideways"},
    "activation_alpha are [nan]": {"activations": ["Elu", "Tanh", "Tanh"], "activation_alpha": [float("nan")]},
    "layout is 2": {"layout": 2},
    "clip is -1.0": {"clip": -1.0},
    "activations are 'Cube', 'Tanh', 'Tanh'": {"activations": ["Cube", "Tanh", "Tanh"]},
    "activations are 'Tanh', 'Tanh'": {"activations": ["Tanh", "Tanh"]},
    "hidden_size is 7 and R has shape (1, 16, 4)": {"hidden_size": 7},
}


@pytest.mark.parametrize("fragment", BAD)
def test_attributes_that_do_not_fit(fragment):
    kind, attributes, arrays, outputs = usual(direction="forward")
    definition = model_of(kind, attributes | BAD[fragment], arrays, outputs)
    message_of(ValueError, lambda: load(definition), "the model cannot be read: node 'the node' (LSTM)", fragment)


@pytest.mark.parametrize("name", ["R", "B", "P"])
def test_weights_that_do_not_fit(name):
    kind, attributes, arrays, outputs = usual(direction="forward")
    definition = model_of(kind, attributes, arrays | {name: arrays[name][:, :-1]}, outputs)
    message_of(ValueError, lambda: load(definition), "node 'the node' (LSTM) cannot be read", "it needs shape")


def test_inputs_that_do_not_fit():
    kind, attributes, arrays, outputs = usual()
    definition = model_of(kind, attributes, arrays, outputs)
    model, inputs = load(definition), inputs_of(definition, arrays)
    cases = {
        "X": (np.zeros((5, 3, 3), np.float32), "x has 3 features"),
        "initial_h": (np.zeros((2, 4, 4), np.float32), "initial_h has shape (2, 4, 4)"),
        "sequence_lens": (np.zeros(2, np.int32), "lengths has shape (2,)"),
    }
    for name, (value, fragment) in cases.items():
        message_of(
            ValueError, lambda n=name, v=value: model(inputs | {n: v}), "node 'the node' (LSTM) cannot", fragment
        )


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(copied):
    kind, attributes, arrays, outputs = usual(activations=USUAL["LSTM"] * 2, clip=1.0)
    definition = model_of(kind, attributes, arrays, outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load(definition)
    inputs = inputs_of(definition, arrays)
    other, before = copied(model), model(inputs)
    assert all(map(np.array_equal, other(inputs), before))
    other.recurrent["the node"].flat_parameters()[:] = 0
    assert not np.array_equal(other(inputs)[0], before[0])
    assert all(map(np.array_equal, model(inputs), before))
    assert type(model.recurrent["the node"]) is nn.Recurrent
