"""Models that were read from ONNX: inputs, outputs, memory, and what is a constant."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from messages import message_of
from processes import run_python

onnx = pytest.importorskip("onnx", reason="nblstm.onnx needs the package onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from nblstm.onnx import ArrayInfo, OnnxModel, load  # noqa: E402
from nblstm.onnx.operators import OPERATORS, Operator  # noqa: E402

X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


def model_of(nodes, inputs, outputs=("y",), initializers=(), opset=18):
    """A model; inputs are names with shapes, of float32, or with a dtype behind them."""
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype((*rest, "float32")[0])), shape)
        for name, shape, *rest in inputs
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in initializers]
    graph = helper.make_graph(nodes, "g", declared, made, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def difference():
    return load(model_of([helper.make_node("Sub", ["a", "b"], ["y"])], [("a", ["N", 3]), ("b", [None, 3])]))


def test_inputs_and_outputs_are_described():
    model = difference()
    assert model.inputs == [ArrayInfo("a", ("N", 3), np.dtype("float32")), ArrayInfo("b", (None, 3), np.dtype("f4"))]
    assert model.outputs == [ArrayInfo("y", None, np.dtype("float32"))]
    assert isinstance(model, OnnxModel)
    assert repr(model) == "<OnnxModel a, b -> y, recurrent: none>"
    assert model.recurrent == model.left == {}


def test_inputs_in_order_or_by_name():
    model = difference()
    for result in (model(X, 2 * X), model({"b": 2 * X, "a": X}), model(a=X, b=2 * X), model(X, b=2 * X)):
        assert type(result) is np.ndarray
        assert np.array_equal(result, -X)
    message_of(TypeError, lambda: model(X), "the inputs are no 'b'; give a, b, in order or by name")
    message_of(TypeError, lambda: model(X, X, X), "the inputs are too many; give a, b")
    message_of(TypeError, lambda: model({"a": X, "c": X}), "unknown 'c', no 'b'")
    message_of(TypeError, lambda: model(X, X, a=X), "'a' twice")
    message_of(TypeError, lambda: load(model_of([], [], ["y"], [("y", X)]))(X), "too many; give none")


def test_inputs_of_other_kinds():
    model = difference()
    assert np.array_equal(model(X.astype(np.float64), X.tolist()), np.zeros_like(X))
    assert np.array_equal(model([[1, 2, 3]], np.zeros((1, 3), bool)), [[1, 2, 3]])
    message_of(ValueError, lambda: model(X[:, :2], X), "a has shape (2, 2); it needs (N, 3)")
    message_of(ValueError, lambda: model(X, X[None]), "b has shape (1, 2, 3); it needs 2 dimensions, (any, 3)")
    message_of(TypeError, lambda: model("x", X), "a")
    message_of(ValueError, lambda: model(np.zeros((2, 3)), np.full((2, 3), 1e300)), "b has 1e+300", "float32")
    message_of(ValueError, lambda: model(X, X[:, :3].repeat(3, 0)), "node 'Sub_0' (Sub) cannot compute", "broadcast")


def test_integers_are_never_rounded():
    node = helper.make_node("Gather", ["table", "i"], ["y"])
    model = load(model_of([node], [("i", ["N"], "int32")], initializers=[("table", X)]))
    assert np.array_equal(model([1, 0, -1]), X[[1, 0, -1]])
    message_of(TypeError, lambda: model([0.5]), "i has dtype float64; it needs int32")
    message_of(ValueError, lambda: model([2**40]), "i has numbers that int32 has not")
    message_of(ValueError, lambda: model([2]), "node 'Gather_0' (Gather) cannot compute", "out of bounds")


def test_several_outputs_are_a_tuple():
    node = helper.make_node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2)
    model = load(model_of([node], [("x", [2, 3])], ["z", "x", "y"]))
    z, x, y = model(X)
    assert np.array_equal(y, X[:, :2])
    assert np.array_equal(z, X[:, 2:])
    assert np.array_equal(x, X)


def test_results_have_memory_of_their_own():
    """Neither the caller's input nor a constant changes when someone writes to a result."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("Identity", ["c"], ["d"]),
        helper.make_node("Add", ["x", "c"], ["s"]), helper.make_node("Flatten", ["s"], ["f"]),
        helper.make_node("Max", ["x"], ["m"]), helper.make_node("Clip", ["x"], ["k"]),
    ]  # fmt: skip
    model = load(model_of(nodes, [("x", [2, 3])], ["x", "t", "c", "d", "s", "f", "m", "k"], [("c", X)]))
    given = X.copy()
    results = model(given)
    before = [result.copy() for result in results]
    for k, result in enumerate(results):
        result += 1
        others = [other for j, other in enumerate(results) if j != k]
        assert not any(np.shares_memory(result, other) for other in (given, *others))
        result -= 1
    assert np.array_equal(given, X)
    assert all(map(np.array_equal, model(given), before))


def test_constants_are_computed_once():
    """Shapes, and all else that depends on no input; an input that the file gives a value is a constant too."""
    nodes = [
        helper.make_node("Shape", ["c"], ["shape"]),
        helper.make_node("Constant", [], ["one"], value_int=1),
        helper.make_node("Unsqueeze", ["one", "zero"], ["ones"]),
        helper.make_node("Concat", ["ones", "shape"], ["whole"], axis=0),
        helper.make_node("Reshape", ["x", "whole"], ["y"]),
        helper.make_node("Exp", ["x"], ["nobody reads it"]),
    ]
    definition = model_of(nodes, [("x", [6]), ("c", [2, 3])], initializers=[("c", X), ("zero", np.array([0]))])
    model = load(definition)
    assert [info.name for info in model.inputs] == ["x"]
    assert [step.label for step in model._steps] == ["node 'Reshape_4' (Reshape)"]
    assert model(np.arange(6)).shape == (1, 2, 3)


def test_names_of_nodes_are_unique():
    """Nodes without a name, or with another's, are called by their operator and their place."""
    chance = np.random.default_rng(0)
    nodes, tensors, last = [], [], "x"
    for k, name in enumerate(["a", "", "a"]):
        weights = [(f"W{k}", (1, 12, 3)), (f"R{k}", (1, 12, 3))]
        tensors += [(own, chance.normal(size=shape).astype(np.float32)) for own, shape in weights]
        nodes.append(helper.make_node("LSTM", [last, f"W{k}", f"R{k}"], [f"Y{k}"], name=name, hidden_size=3))
        nodes.append(helper.make_node("Squeeze", [f"Y{k}", "one"], [f"y{k}"]))
        last = f"y{k}"
    model = load(model_of(nodes, [("x", ["T", "B", 3])], [last], [*tensors, ("one", np.array([1]))]))
    assert list(model.recurrent) == ["a", "LSTM_2", "LSTM_4"]
    y = x = chance.normal(size=(4, 2, 3)).astype(np.float32)
    for network in model.recurrent.values():
        y = network(y)[0]
    assert np.array_equal(model(x), y)


def test_a_model_is_read_from_a_file_its_bytes_or_its_proto(tmp_path):
    definition = model_of([helper.make_node("Neg", ["x"], ["y"])], [("x", [2, 3])])
    onnx.save(definition, tmp_path / "m.onnx")
    content = definition.SerializeToString()
    for source in (tmp_path / "m.onnx", str(tmp_path / "m.onnx"), content, bytearray(content), definition):
        assert np.array_equal(load(source)(X), -X)


def test_overflow_is_silent():
    """Infinities and what is no number come as they are, whatever NumPy is told to do about them."""
    nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Div", ["e", "zero"], ["y"])]
    model = load(model_of(nodes, [("x", [1])], initializers=[("zero", np.zeros(1, np.float32))]))
    with np.errstate(all="raise"):
        assert np.isinf(model([1000.0])).all()


def with_functions(nodes, functions, opset=18):
    model = model_of(nodes, [("x", [2, 3])], opset=opset)
    model.opset_import.append(helper.make_opsetid("own", 1))
    for name, body, attributes in functions:
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", name, ["a", "b"], ["c"], body, imports, attributes))
    return model


def test_functions_of_a_model():
    """Calls become the function's nodes: within each other, with attributes, and with inputs left out."""
    shifted = helper.make_node("LeakyRelu", ["d"], ["c"])
    shifted.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    inner = [helper.make_node("Sub", ["a", "b"], ["d"], name="minus"), shifted]
    clipped = [helper.make_node("Clip", ["e", "", "b"], ["c"])]
    outer = [helper.make_node("inner", ["a", "b"], ["e"], domain="own", slope=0.5), *clipped]
    nodes = [
        helper.make_node("Exp", ["x"], ["e"]),
        helper.make_node("outer", ["x", "e"], ["d"], domain="own"),
        helper.make_node("outer", ["x"], ["f"], domain="own", name="second"),
        helper.make_node("Add", ["d", "e"], ["y"]),
    ]
    functions = [("inner", inner, ["slope"]), ("outer", outer, [])]
    message_of(ValueError, lambda: load(with_functions(nodes, functions)), "node 'second/inner/minus' (Sub) has 2")
    model = load(with_functions([nodes[0], nodes[1], nodes[3]], functions))
    below = X - np.exp(X)
    np.testing.assert_allclose(model(X), np.where(below < 0, 0.5 * below, below) + np.exp(X), rtol=1e-6)


def test_functions_that_have_no_end():
    call = helper.make_node("f0", ["x", "x"], ["y"], domain="own")
    itself = [("f0", [helper.make_node("f0", ["a", "b"], ["c"], domain="own")], [])]
    message_of(ValueError, lambda: load(with_functions([call], itself)), "its function 'f0' calls itself")
    doubling = [
        (f"f{k}", [helper.make_node(f"f{k + 1}", [a, "b"], [c], domain="own") for a, c in ("ad", "dc")], [])
        for k in range(30)
    ]
    doubling.append(("f30", [helper.make_node("Add", ["a", "b"], ["c"])], []))
    message_of(ValueError, lambda: load(with_functions([call], doubling)), "more than 10 times the file's")


def test_calls_on_several_threads():
    chance = np.random.default_rng(0)
    weights = [("W", (1, 12, 3)), ("R", (1, 12, 3))]
    tensors = [(name, chance.normal(size=shape).astype(np.float32)) for name, shape in weights]
    node = helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=3)
    model = load(model_of([node], [("x", [None, None, 3])], initializers=tensors))
    inputs = [chance.normal(size=(5, 1 + k % 3, 3)).astype(np.float32) for k in range(40)]
    alone = [model(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(np.array_equal, pool.map(model, inputs), alone))


def test_time_limits_of_a_signal_pass_through(monkeypatch):
    """Its TimeoutError is no fault of the file, in a call or while constants are computed."""

    def late(x):
        raise TimeoutError("took too long")

    monkeypatch.setitem(OPERATORS, "Neg", {6: Operator(late)})
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    with pytest.raises(TimeoutError, match="too long"):
        load(model_of(nodes, [], initializers=[("x", X)]))
    with pytest.raises(TimeoutError, match="too long"):
        load(model_of(nodes, [("x", [2, 3])]))(X)


def test_without_onnx():
    code = """
import sys  # noqa: E402
sys.modules["onnx"] = None
try:
    import nblstm.onnx
except ImportError as error:
    print(error)
"""
    message = run_python(code)
    assert message.count("\n") == 1
    assert "nblstm.onnx needs the package onnx" in message
    assert "'.[onnx]'" in message
