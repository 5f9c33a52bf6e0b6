"""Scans of ONNX files with any body, beside onnxruntime."""

from itertools import pairwise

import numpy as np
import pytest
from messages import message_of

sessions = pytest.importorskip("onnx_sessions", reason="needs onnx and onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from nblstm.onnx import limits, load  # noqa: E402

RNG = np.random.default_rng(0)


def info(name, shape=None):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model_of(nodes, inputs, outputs, initializers=(), functions=(), opset=17):
    graph = helper.make_graph(
        nodes, "g", [info(name, shape) for name, shape in inputs], [info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in initializers],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("own", 1)] if functions else [])]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8)


def scan_with(nodes, inputs, outputs, given, made, initializers=(), name="scan", **attributes):
    body = helper.make_graph(
        nodes, "body", [info(each) for each in inputs], [info(each) for each in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in initializers],
    )  # fmt: skip
    return helper.make_node("Scan", given, made, name=name, body=body, **attributes)


def running_sums(given=("s", "x"), made=("last", "y"), **attributes):
    """``s += x[t] w`` with a w of the graph around it; outputs are the sums."""
    nodes = [
        helper.make_node("Mul", ["x_t", "w"], ["product"]), helper.make_node("Add", ["s_t", "product"], ["new"]),
        helper.make_node("Identity", ["new"], ["y_t"]),
    ]  # fmt: skip
    options = {"num_scan_inputs": 1, **attributes}
    return scan_with(nodes, ["s_t", "x_t"], ["new", "y_t"], given, made, **options)


def check(made, **given):
    """Compare with onnxruntime."""
    given = {name: np.asarray(value, "float32") for name, value in given.items()}
    running = sessions.onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted, results = running.run(None, given), load(made)(given)
    results = results if isinstance(results, tuple) else (results,)
    for result, each in zip(results, wanted, strict=True):
        assert (result.shape, result.dtype) == (each.shape, each.dtype)
        np.testing.assert_allclose(result, each, atol=1e-6)


@pytest.mark.parametrize("opset", [9, 11, 16, 19, 21, 23])
@pytest.mark.parametrize("attributes", [
    {}, {"scan_input_directions": [1]}, {"scan_output_directions": [1]}, {"scan_input_axes": [1]},
    {"scan_input_axes": [2], "scan_output_axes": [1], "scan_output_directions": [1]},
], ids=str)  # fmt: skip
def test_axes_and_directions(attributes, opset):
    axis = attributes.get("scan_input_axes", [0])[0]
    made = model_of(
        [running_sums(**attributes)], [("x", [2, 3, 4]), ("s", [None, None])], ["last", "y"], [("w", np.float32(2.5))],
        opset=opset,
    )  # fmt: skip
    x = RNG.normal(size=(2, 3, 4))
    check(made, x=x, s=np.delete(x, 0, axis).sum(axis))


@pytest.mark.parametrize("seed", range(40))
def test_random_bodies(seed):
    """500 seeds were run by hand; the largest difference was that of rounding."""
    chance = np.random.default_rng(seed)
    states, scanned, made, steps = (int(chance.integers(low, 4)) for low in (0, 1, 1, 1))
    shape = tuple(int(n) for n in chance.integers(1, 4, int(chance.integers(0, 3))))
    known = [*(f"s{k}" for k in range(states)), *(f"x{k}" for k in range(scanned)), "around", "own"]
    nodes = []
    for k in range(6):
        kind = str(chance.choice(["Add", "Mul", "Sub", "Max", "Tanh"]))
        given = [str(name) for name in chance.choice(known, 1 if kind == "Tanh" else 2)]
        nodes.append(helper.make_node(kind, given, [f"v{k}"]))
        known.append(f"v{k}")
    results = [f"o{k}" for k in range(states + made)]
    nodes += [helper.make_node("Add", [str(chance.choice(known)), "x0"], [name]) for name in results]
    attributes = {"num_scan_inputs": scanned}
    for side, count in (("input", scanned), ("output", made)):
        for what, least, most in (("axes", -len(shape) - 1, len(shape) + 1), ("directions", 0, 2)):
            if chance.random() < 0.6:
                attributes[f"scan_{side}_{what}"] = [int(n) for n in chance.integers(least, most, count)]
    arrays = {f"S{k}": chance.normal(size=shape) for k in range(states)}
    axes = attributes.get("scan_input_axes", [0] * scanned)
    arrays |= {f"X{k}": np.moveaxis(chance.normal(size=(steps, *shape)), 0, axis) for k, axis in enumerate(axes)}
    body = helper.make_graph(
        nodes, "body", [info(name, shape) for name in known[: states + scanned]],
        [info(name, shape) for name in results], [numpy_helper.from_array(np.float32(0.7), "own")],
    )  # fmt: skip
    finals = [f"y{k}" for k in range(states + made)]
    scan = helper.make_node("Scan", list(arrays), finals, body=body, **attributes)
    declared = [(name, value.shape) for name, value in arrays.items()]
    check(model_of([helper.make_node("Neg", ["c"], ["around"]), scan], [*declared, ("c", [])], finals), **arrays, c=0.3)


def test_negative_axes_and_values_of_the_graph_around():
    node = running_sums(scan_input_axes=[-2], scan_output_axes=[-1])
    made = model_of([helper.make_node("Neg", ["v"], ["w"]), node], [("x", [2, 3, 4]), ("s", [2, 4]), ("v", [4])],
                    ["last", "y"])  # fmt: skip
    check(made, x=RNG.normal(size=(2, 3, 4)), s=np.ones((2, 4)), v=[1, 2, 3, 4])


def test_a_body_with_a_scan_and_a_function_in_it():
    """The inner body reads what both graphs around it make; a call in it becomes the function's nodes."""
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    inner = scan_with(
        [helper.make_node("Twice", ["e"], ["twice"], domain="own"), helper.make_node("Mul", ["twice", "v"], ["p"]),
         helper.make_node("Mul", ["p", "s_t"], ["q"]), helper.make_node("Add", ["r", "q"], ["r_new"])],
        ["r", "e"], ["r_new"], ["zero", "x_t"], ["total"], name="inner", num_scan_inputs=1,
    )  # fmt: skip
    outer = scan_with(
        [inner, helper.make_node("Add", ["s_t", "total"], ["s_new"])], ["s_t", "x_t"], ["s_new"], ["s", "x"], ["last"],
        [("zero", np.float32(0))], name="outer", num_scan_inputs=1,
    )  # fmt: skip
    made = model_of([outer], [("x", [3, 4]), ("s", []), ("v", [])], ["last"], functions=[function])
    check(made, x=RNG.normal(size=(3, 4)), s=1.0, v=0.3)


def test_a_function_with_a_scan_in_it():
    """Names in the body are the function's, and an attribute of the body's nodes is the call's."""
    scale = helper.make_node("LeakyRelu", ["x_t"], ["leaky"])
    scale.attribute.append(onnx_reference("alpha", "slope"))
    scan = scan_with(
        [scale, helper.make_node("Mul", ["leaky", "weight"], ["p"]), helper.make_node("Add", ["h", "p"], ["n"])],
        ["h", "x_t"], ["n"], ["start", "steps"], ["end"], num_scan_inputs=1,
    )  # fmt: skip
    function = helper.make_function(
        "own", "Sums", ["start", "steps", "weight"], ["end"], [scan], [helper.make_opsetid("", 17)], ["slope"]
    )
    calls = [
        helper.make_node("Sums", ["s", "x", "w"], ["a"], domain="own", slope=0.5),
        helper.make_node("Sums", ["a", "x", "w"], ["b"], domain="own", slope=0.25),
    ]
    made = model_of(calls, [("x", [3, 4]), ("s", [4]), ("w", [4])], ["b"], functions=[function])
    x, s, w = (RNG.normal(size=n).astype("float32") for n in ((3, 4), 4, 4))
    wanted = s + w * sum(np.where(x < 0, slope * x, x).sum(0) for slope in (0.5, 0.25))
    np.testing.assert_allclose(load(made)(x=x, s=s, w=w), wanted, atol=1e-6)


def onnx_reference(name, to):
    return sessions.onnx.AttributeProto(name=name, ref_attr_name=to, type=sessions.onnx.AttributeProto.FLOAT)


def test_recurrent_nodes_in_a_body():
    """Their networks are there under the name of the Scan and their own."""
    weights = [(name, RNG.normal(size=(1, 4, n)).astype("float32")) for name, n in (("W", 2), ("R", 4))]
    node = helper.make_node("RNN", ["x_t", "W", "R"], ["y"], name="rnn", hidden_size=4)
    scan = scan_with([node], ["x_t"], ["y"], ["x"], ["ys"], num_scan_inputs=1)
    made = model_of([scan], [("x", [3, 5, 1, 2])], ["ys"], weights)
    assert list(load(made).recurrent) == ["scan/rnn"]
    check(made, x=RNG.normal(size=(3, 5, 1, 2)))


def test_no_steps():
    """States stay as they are, and outputs have no steps, but a step's shape."""
    made = model_of([running_sums()], [("x", ["T", 4]), ("s", [3, 4])], ["last", "y"], [("w", np.float32(1))])
    s = np.ones((3, 4), np.float32)
    last, y = load(made)(x=np.zeros((0, 4)), s=s)
    assert np.array_equal(last, s)
    assert not np.shares_memory(last, s)
    assert y.shape == (0, 3, 4)


def test_states_are_nobody_elses_memory():
    scan = scan_with([], ["s_t", "x_t"], ["s_t", "x_t"], ["s", "x"], ["last", "y"], num_scan_inputs=1)
    model = load(model_of([scan], [("x", [2, 3]), ("s", [3])], ["last", "y"]))
    s, x = np.ones(3, np.float32), np.ones((2, 3), np.float32)
    last, y = model(x, s)
    last += 1
    y += 1
    assert s.sum() == 3
    assert x.sum() == 6


def test_scans_that_do_not_fit():
    inputs, constant = [("x", [2, 3]), ("s", [3])], [("w", np.float32(1))]

    def refused(node, *needed, given=inputs, initializers=constant):
        made = model_of([node], given, ["y"], initializers)
        message_of(ValueError, lambda: load(made), *needed)

    refused(running_sums(num_scan_inputs=3), "node 'scan' (Scan) cannot be read: num_scan_inputs is 3")
    refused(running_sums(num_scan_inputs=0), "num_scan_inputs is 0")
    refused(running_sums(scan_input_axes=[0, 1]), "scan_input_axes are (0, 1), and there are 1")
    refused(running_sums(scan_output_directions=[2]), "scan_output_directions are (2,)")
    refused(running_sums(given=("s", "x", "x")), "has 3 inputs and 2 outputs, and its body 2 and 2")
    refused(running_sums(), "node 'scan/Mul_0' (Mul) reads 'w', which nothing before it makes", initializers=[])
    nodes = [helper.make_node("Concat", ["s_t", "s_t"], ["new"], axis=0)]
    twice = scan_with(nodes, ["s_t", "x_t"], ["new", "new"], ["s", "x"], ["y", "z"], num_scan_inputs=1)
    model = load(model_of([twice], inputs, ["y"]))
    message_of(ValueError, lambda: model(np.ones((2, 3)), np.ones(3)), "node 'scan' (Scan) cannot compute: state 0 is "
               "float32 of shape (3,) before step 0 and float32 of shape (6,) after it")  # fmt: skip
    model = load(model_of([running_sums(scan_input_axes=[4])], inputs, ["y"], constant))
    message_of(ValueError, lambda: model(np.ones((2, 3)), np.ones(3)), "axis is 4")
    model = load(model_of([running_sums()], [("x", None), ("s", None)], ["y"], constant))
    message_of(ValueError, lambda: model(np.float32(1), np.ones(3)), "has no dimensions")
    message_of(ValueError, lambda: model(np.ones((3, 2)), np.ones(3)), "node 'scan/Add_1' (Add) cannot compute")
    many = np.broadcast_to(np.float32(1), (limits.MOST_STEPS + 1, 0))
    message_of(ValueError, lambda: model(many, np.ones(0)), "steps, more than")


def test_functions_and_bodies_in_each_other():
    """A function whose Scan calls it again, once or twice."""
    call = helper.make_node("F", ["x"], ["y"], domain="own")
    for names, said in ((["a", "b"], "deep; the file is damaged"), (["a", "c", "b"], "the file is damaged")):
        inner = [helper.make_node("F", [one], [other], domain="own") for one, other in pairwise(names)]
        scan = scan_with(inner, ["a"], ["b"], ["x"], ["y"], num_scan_inputs=1)
        function = helper.make_function("own", "F", ["x"], ["y"], [scan], [helper.make_opsetid("", 17)])
        made = model_of([call], [("x", None)], ["y"], functions=[function])
        message_of(ValueError, lambda made=made: load(made), said)


def test_bodies_within_bodies():
    node = helper.make_node("Neg", ["a"], ["b"])
    for _ in range(25):
        node = scan_with([node], ["a"], ["b"], ["a"], ["b"], num_scan_inputs=1)
    made = model_of([node], [("a", None)], ["b"])
    message_of(ValueError, lambda: load(made), "bodies within bodies more than 20 deep")


def test_sizes_within_a_body():
    """A step's outputs count with all steps, and constants of a body with the file's."""
    nodes = [helper.make_node("Expand", ["x_t", "many"], ["wide"])]
    scan = scan_with(nodes, ["x_t"], ["wide"], ["x"], ["y"], num_scan_inputs=1)
    model = load(model_of([scan], [("x", None)], ["y"], [("many", np.array([1 << 20]))]))
    assert model(np.ones((2, 1))).shape == (2, 1 << 20)
    message_of(ValueError, lambda: model(np.ones((300, 1))), "it would make an array of 314572800 elements")
    nodes = [helper.make_node("Expand", ["one", "many"], ["wide"])]
    scan = scan_with(nodes, ["x_t"], ["wide"], ["x"], ["y"], num_scan_inputs=1)
    constants = [("many", np.array([1 << 20])), ("one", np.ones(1, np.float32))]
    message_of(ValueError, lambda: load(model_of([scan], [("x", None)], ["y"], constants)), "more than 10 times")
