"""Operators of ONNX: the tests of ONNX's own backend suite for each that is read."""

import re
import warnings
from functools import cache

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="nblstm.onnx needs the package onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.backend.test.case.node import collect_testcases  # noqa: E402

from nblstm.onnx import load  # noqa: E402
from nblstm.onnx.operators import OPERATORS  # noqa: E402
from nblstm.onnx.reading import OLDEST  # noqa: E402
from nblstm.onnx.tensors import DTYPES  # noqa: E402

#: Older versions have fewer tests, and some operators not at all.
NEW = onnx.defs.onnx_opset_version() >= 28

RECURRENT = ["LSTM", "GRU", "RNN"]
READ = {*OPERATORS, *RECURRENT, "Constant", "Scan"}

#: Why a model is refused, and a sign in it that it had to be.
REFUSALS = {
    "has the element type": lambda model: not elements(model) <= set(DTYPES),
    "is no array; export the model with arrays": lambda model: any(
        info.type.WhichOneof("value") != "tensor_type" for info in (*model.graph.input, *model.graph.output)
    ),
    r"uses opset \d, and nblstm reads 7 to ": lambda model: model.opset_import[0].version < OLDEST,
    "Scan.* as it was in opset 8": lambda model: model.opset_import[0].version == 8,
    "training_mode is|, as in training": lambda model: (
        model.graph.node[-1].op_type in ("Dropout", "BatchNormalization")
    ),
}


def elements(model):
    """Element types anywhere in a model."""
    graph = model.graph
    found = {info.type.tensor_type.elem_type for info in (*graph.input, *graph.output)}
    for node in graph.node:
        found |= {given.t.data_type for given in node.attribute if given.type == onnx.AttributeProto.TENSOR}
        found |= {given.i for given in node.attribute if given.name == "to"}
    return found


@cache
def cases():
    """The suite's tests with only operators that are read, each under the operator of which there are fewest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the numbers that the suite makes
        found = [case for case in collect_testcases(None) if {n.op_type for n in case.model.graph.node} <= READ]
    counts = {}
    for case in found:
        for kind in {node.op_type for node in case.model.graph.node}:
            counts[kind] = counts.get(kind, 0) + 1
    if not NEW:  # its reference divided by another count before onnx 1.17
        found = [case for case in found if "count_include_pad_is_1_ceil_mode_is_True" not in case.name]
    by_kind = {}
    for case in found:
        rarest = min(sorted({node.op_type for node in case.model.graph.node}), key=counts.get)
        by_kind.setdefault(rarest, []).append(case)
    return by_kind


def array(value):
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def check(case):
    """Whether a case was computed; else it was refused as it had to be."""
    message, computed = "", []
    try:
        model = load(case.model)
        computed = [(model(*map(array, inputs)), outputs) for inputs, outputs in case.data_sets]
    except ValueError as error:
        message = str(error)
    if message:
        assert "\n" not in message
        reasons = [reason for reason in REFUSALS if re.search(reason, message)]
        assert reasons, f"{case.name}: {message}"
        assert REFUSALS[reasons[0]](case.model), case.name
        return False
    for results, outputs in computed:
        results = results if isinstance(results, tuple) else (results,)
        for result, expected in zip(results, map(array, outputs), strict=True):
            assert (result.dtype, result.shape) == (expected.dtype, expected.shape), case.name
            np.testing.assert_allclose(result, expected, rtol=case.rtol, atol=max(case.atol, 1e-6), err_msg=case.name)
    return True


@pytest.mark.parametrize("kind", sorted(OPERATORS))
def test_operator(kind):
    own = cases().get(kind, [])
    computed = [check(case) for case in own]
    assert any(computed) or not NEW, f"no test of {kind}"


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_operators(kind):
    own = cases()[kind]
    assert len(own) == (6 if NEW else 4)
    assert all(check(case) for case in own)


def test_scan():
    own = cases()["Scan"]
    assert sum(check(case) for case in own) == len(own) - 1


# --- opsets of which the suite has no tests ------------------------------------------------------------


def one_node(kind, inputs, opset, outputs=("y",), **attributes):
    names = [f"x{k}" for k in range(len(inputs))]
    node = helper.make_node(kind, names, list(outputs), **attributes)
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(names, inputs, strict=True)
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph([node], "g", declared, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)

#: Operators as older opsets have them: attributes that became inputs, and other meanings.
OLD = [
    ("Softmax", 11, {"axis": 1}, lambda x: softmax(x.reshape(2, 12)).reshape(x.shape)),
    ("Softmax", 11, {}, lambda x: softmax(x.reshape(2, 12)).reshape(x.shape)),
    ("LogSoftmax", 7, {"axis": 2}, lambda x: np.log(softmax(x))),
    ("ReduceSum", 11, {"axes": [1], "keepdims": 0}, lambda x: x.sum(1)),
    ("ReduceMean", 13, {"axes": [-1]}, lambda x: x.mean(-1, keepdims=True)),
    ("ReduceMax", 11, {}, lambda x: x.max(keepdims=True)),
    ("Clip", 7, {"min": -0.5, "max": 0.25}, lambda x: x.clip(-0.5, 0.25)),
    ("Slice", 9, {"starts": [0, 1], "ends": [1, 3], "axes": [0, 2]}, lambda x: x[0:1, :, 1:3]),
    ("Unsqueeze", 11, {"axes": [0, 4]}, lambda x: x[None, ..., None]),
    ("Squeeze", 11, {}, lambda x: x),
    ("Pad", 9, {"pads": [0, 0, 1, 0, 0, 2], "value": 3.0},
     lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2)), constant_values=3)),
    ("Dropout", 10, {"ratio": 0.5}, lambda x: x),
    ("Flatten", 7, {"axis": 2}, lambda x: x.reshape(6, 4)),
    ("Cast", 9, {"to": TensorProto.FLOAT}, lambda x: x),
    ("ArgMax", 11, {"axis": 2, "keepdims": 0}, lambda x: x.argmax(2)),
]  # fmt: skip


def softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize(("kind", "opset", "attributes", "expected"), OLD)
def test_older_opsets(kind, opset, attributes, expected):
    result = load(one_node(kind, [X], opset, **attributes))(X)
    wanted = expected(X)
    assert result.shape == wanted.shape
    np.testing.assert_allclose(result, wanted, rtol=1e-6, atol=1e-6)
    runtime = pytest.importorskip("onnxruntime", reason="the oracle of older opsets")
    session = runtime.InferenceSession(
        one_node(kind, [X], opset, **attributes).SerializeToString(), providers=["CPUExecutionProvider"]
    ) if kind != "ArgMax" else None  # fmt: skip
    if session is not None:
        np.testing.assert_allclose(result, session.run(None, {"x0": X})[0], rtol=1e-6, atol=1e-6)


def test_parts_of_older_splits():
    model = one_node("Split", [X], 11, ("a", "b"), axis=2, split=[1, 3])
    a, b = load(model)(X)
    assert np.array_equal(a, X[..., :1])
    assert np.array_equal(b, X[..., 1:])


# --- empty batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "wanted", "expected"), [
    ((6, 0, 2, 8), [0, 0, -1], (6, 0, 16)), ((0, 3, 2, 5), [0, -1, 5], (0, 6, 5)), ((0, 3, 4), [-1, 4], (0, 4)),
    ((0, 6), [0, -1, 3], (0, 2, 3)), ((2, 0, 3), [0, 0, 0], (2, 0, 3)), ((2, 0), [0, -1], (2, 0)),
], ids=str)  # fmt: skip
def test_shapes_of_nothing(shape, wanted, expected):
    """The size that is left over is that of a batch of one or more, as torch's exports need it."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * len(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(wanted), "shape")],
    )  # fmt: skip
    model = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    assert model(np.zeros(shape)).shape == expected


def test_windows_over_an_empty_batch():
    x, weights = np.zeros((0, 2, 7), np.float32), np.zeros((4, 2, 3), np.float32)
    for kind, others, attributes in (
        ("Conv", [weights], {}), ("MaxPool", [], {"kernel_shape": [3]}), ("AveragePool", [], {"kernel_shape": [3]})
    ):  # fmt: skip
        result = load(one_node(kind, [x, *others], 17, **attributes))(x, *others)
        assert result.shape == (0, 4 if others else 2, 5)
