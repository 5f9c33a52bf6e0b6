"""ONNX files that are damaged or made to do harm: one sentence, little memory, and nothing is executed."""

import random
import re
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from messages import message_of

pytest.importorskip("onnx", reason="nblstm.onnx needs the package onnx")

from mutations import COUNT, peak_of
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_mutations import mutated

from nblstm import cells, nn
from nblstm.onnx import export, load, reading

GOLDEN = Path(__file__).parent / "golden"
TORCH = ["legacy packed", "legacy tagger", "dynamo convolutional"]
FILES = dict.fromkeys(TORCH, np.load(GOLDEN / "onnx_torch.npz")) | {"convolution": np.load(GOLDEN / "onnx_keras.npz")}
COUPLED = export(nn.Recurrent(cells.lstm_coupled, 3, 4, seed=0))
FILES["Scan of a cell"] = {
    "Scan of a cell file": np.frombuffer(
        export(nn.Recurrent(cells.lstm_coupled, 3, 4, seed=0)).SerializeToString(), "u1"
    ),
    **{f"cell input {k}": np.ones((2, 1, n), np.float32)[: 2 - (k > 0)] for k, n in enumerate((3, 4, 4))},
}

#: Sentences of Python itself, where a file's content went in unchecked.
PYTHONS = re.compile(r"object (is not|has no)|argument must|unsupported operand|invalid literal|positional argument")


def inputs_of(model, name):
    """The file's own inputs, as many as the damaged model still takes."""
    golden, case = FILES[name], name.split()[-1]
    own = [golden[key] for key in sorted(golden) if key.startswith(f"{case} input")]
    return dict(zip([info.name for info in model.inputs], own, strict=False))


def tried(content, name):
    """What loading and calling a model says, the bytes that loading took, and the seconds of both."""
    begin, message = time.perf_counter(), ""
    tracemalloc.start()
    try:
        model = load(content)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        model(inputs_of(model, name))
    except (ValueError, TypeError) as error:
        message = f"{type(error).__name__}: {error}"
        if tracemalloc.is_tracing():
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return message, peak, time.perf_counter() - begin


def run_mutations(name, count, seed=0):
    """Damage a file so many times; each time one sentence or numbers."""
    content, chance, said = FILES[name][f"{name} file"].tobytes(), random.Random(seed), []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*alpha or beta|.*than its activations take", UserWarning)
        load(content)
        for _ in range(count):
            damaged = mutated(content, chance)
            message, peak, seconds = tried(damaged, name)
            assert "\n" not in message, message
            assert len(message) < 900
            assert "do not fit (" in message or not PYTHONS.search(message), message
            assert peak < max(10 * len(damaged), 8 << 20), (peak, message)
            assert seconds < 20
            said.append(message)
    return said


@pytest.mark.parametrize("name", FILES)
def test_mutations(name):
    said = run_mutations(name, COUNT)
    assert sum(map(bool, said)) > COUNT / 4


# --- sizes that a file declares -----------------------------------------------------------------------


def model_of(nodes, opset=18, initializers=(), inputs=(), outputs=("y",)):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in initializers],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


VAST = np.array([10**6, 10**6], np.int64)
ONE = np.ones(1, np.float32)
ROW = np.ones((1, 3000), np.float32)

BOMBS = {
    "ConstantOfShape": ([("v", VAST)], ["v"], {}),
    "Expand": ([("x", ONE), ("v", VAST)], ["x", "v"], {}),
    "Tile": ([("x", ROW), ("v", VAST)], ["x", "v"], {}),
    "Range": ([("a", np.array(0)), ("b", np.array(10**15)), ("c", np.array(1))], ["a", "b", "c"], {}),
    "Pad": ([("x", ONE), ("v", VAST)], ["x", "v"], {}),
    "OneHot": ([("x", np.arange(9)), ("d", np.array(10**12)), ("v", np.ones(2, np.float32))], ["x", "d", "v"], {}),
    "Add": ([("x", ROW), ("v", ROW.T)], ["x", "v"], {}),
    "MatMul": ([("v", ROW.T), ("x", ROW)], ["v", "x"], {}),
    "Gather": ([("x", ROW), ("v", np.zeros(3000, np.int64))], ["x", "v"], {"axis": 0}),
    "GatherND": ([("x", ROW), ("v", np.zeros((3000, 1), np.int64))], ["x", "v"], {}),
    "Where": ([("x", ROW > 0), ("v", ROW.T), ("w", ROW)], ["x", "v", "w"], {}),
    "Conv": ([("x", ROW[None]), ("v", np.ones((1, 1, 1), np.float32))], ["x", "v"], {"pads": [10**9, 10**9]}),
    "AveragePool": ([("x", ROW[None])], ["x"], {"kernel_shape": [10**9], "pads": [10**9 - 1, 10**9 - 1]}),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_constants_take_no_more_memory_than_the_file_is_worth(kind):
    initializers, inputs, attributes = BOMBS[kind]
    model = model_of([helper.make_node(kind, inputs, ["y"], **attributes)], initializers=initializers)
    said = f"node '{kind}_0' ({kind}) cannot be computed", "it would make an array of", "more than 10 times the memory"
    _, peak = peak_of(lambda: message_of(ValueError, lambda: load(model), *said))
    assert peak < 2 << 20


def test_many_constants_that_double():
    """What is small in each node can be too much in all."""
    nodes = [helper.make_node("Concat", [f"x{k}"] * 2, [f"x{k + 1}"], axis=0) for k in range(40)]
    model = model_of(nodes, initializers=[("x0", np.ones(64, np.float32))], outputs=["x40"])
    said = "(Concat) cannot be computed", "more than 10 times the memory"
    _, peak = peak_of(lambda: message_of(ValueError, lambda: load(model), *said))
    assert peak < 12 << 20


def test_sizes_in_a_call():
    """A number in an input can decide how large an array is, too."""
    model = helper.make_node("Expand", ["x", "shape"], ["y"])
    shape = helper.make_tensor_value_info("shape", TensorProto.INT64, [None])
    definition = model_of([model], inputs=[("x", [None])])
    definition.graph.input.append(shape)
    loaded = load(definition)
    assert loaded(ONE, [2, 3]).shape == (2, 3)
    message_of(ValueError, lambda: loaded(ONE, VAST), "node 'Expand_0' (Expand) cannot compute: it would make an array")


# --- what is refused ----------------------------------------------------------------------------------


def test_external_data_is_not_opened(tmp_path):
    (tmp_path / "weights").write_bytes(bytes(16))
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights")
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], inputs=[("x", [4])])
    model.graph.initializer.append(tensor)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    message_of(ValueError, lambda: load(path), repr(str(path)), "'w' lies in another file, 'weights'", "in one file")


def refused(model, *fragments):
    message_of(ValueError, lambda: load(model), "the model cannot be read: ", *fragments)


def test_operators_that_are_not_read():
    graph = model_of([helper.make_node("Neg", ["z"], ["y"])]).graph
    for kind, needed in (
        ("Loop", "LSTM, GRU or RNN node"), ("If", "the branch that is taken"),
        ("SequenceConstruct", "lists of arrays"), ("SplitToSequence", "with dynamo=False"),
        ("Einsum", "docs/onnx.md"), ("Foo", "docs/onnx.md"),
    ):  # fmt: skip
        node = helper.make_node(kind, ["x"], ["y"], name="n", **({"body": graph} if kind == "Loop" else {}))
        refused(model_of([node], inputs=[("x", [2])]), f"node 'n' ({kind}) is an operator that nblstm does not", needed)
    scan = helper.make_node("Scan", ["", "x"], ["y"], body=graph, num_scan_inputs=1)
    refused(model_of([scan], 8, inputs=[("x", [1, 2])]), "as it was in opset 8", "convert the model to opset 9")
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    refused(model_of([node], inputs=[("x", [2])]), "is an operator of the domain 'com.microsoft' that nblstm does not")


def test_graphs_that_do_not_hold_together():
    add = helper.make_node("Add", ["x", "z"], ["y"], name="n")
    refused(model_of([add], inputs=[("x", [2])]), "node 'n' (Add) reads 'z', which nothing before it makes")
    neg = helper.make_node("Neg", ["x"], ["x"], name="n")
    refused(model_of([neg], inputs=[("x", [2])]), "node 'n' (Neg) makes 'x', which there is already")
    refused(model_of([], inputs=[("x", [2])]), "its output 'y' is made by no node")
    refused(model_of([], inputs=[("x", [2]), ("x", [2])]), "there are two arrays named 'x'")
    add = helper.make_node("Add", ["x", "w"], ["y"])
    refused(model_of([add], inputs=[("x", [1])], initializers=[("w", ONE), ("w", 2 * ONE)]), "two arrays named 'w'")
    soft = helper.make_node("Softmax", ["x"], ["y"], name="n", axis=1, depth=3)
    refused(model_of([soft], inputs=[("x", [2])]), "node 'n' (Softmax) has an attribute 'depth' that its operator has")
    soft = helper.make_node("Softmax", ["x"], ["y"], name="n", axis=0.5)
    refused(model_of([soft], inputs=[("x", [2])]), "node 'n' (Softmax) has an attribute 'axis' that its operator has")
    refused(model_of([helper.make_node("Cast", ["x"], ["y"])], inputs=[("x", [2])]), "lacks the attribute 'to'")
    refused(model_of([helper.make_node("Add", ["x"], ["y"])], inputs=[("x", [2])]), "has 1 inputs", "takes 2 to 2")
    refused(
        model_of([helper.make_node("Neg", ["x"], ["y"])], 6, inputs=[("x", [2])]),
        "it uses opset 6",
        "nblstm reads 7 to ",
    )
    refused(model_of([helper.make_node("Neg", ["x"], ["y"])], 99, inputs=[("x", [2])]), "it uses opset 99")


def test_names_do_not_grow_with_calls():
    """A call in a call in a call: each name would be twice as long as that of the call around it."""
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function(
            "own", f"F{k}", ["a"], ["b"],
            [helper.make_node(f"F{k + 1}", ["a"], ["c"], name="n", domain="own"), helper.make_node("Neg", ["c"], "b")],
            opset,
        )
        for k in range(40)
    ]  # fmt: skip
    functions.append(helper.make_function("own", "F40", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], opset))
    model = model_of([helper.make_node("F0", ["x"], ["y"], name="n", domain="own")], inputs=[("x", [1])])
    model.functions.extend(functions)
    loaded, peak = peak_of(lambda: load(model))
    assert peak < 2 << 20
    assert loaded(ONE) == -1


def test_constants_of_functions():
    """A function with a large constant that is called often."""
    value = numpy_helper.from_array(np.ones(1 << 18, np.float32))
    nodes = [helper.make_node("Constant", [], ["c"], value=value), helper.make_node("Add", ["a", "c"], ["b"])]
    calls = [helper.make_node("F", ["x"], [f"y{k}"], domain="own") for k in range(50)]
    model = model_of(calls, inputs=[("x", [1])], outputs=["y0"])
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], nodes, [helper.make_opsetid("", 17)]))
    refused(model, "functions make a graph of it that is more than 10 times the file's")


def test_tensors_that_do_not_hold_together():
    for change, fragment in (
        ({"dims": [5]}, "'w' has shape (5,) and 16 bytes"),
        ({"dims": [-4]}, "'w' has the shape (-4,)"),
        ({"dims": [10**12]}, "'w' has shape (1000000000000,) and 16 bytes"),
        ({"data_type": TensorProto.BFLOAT16}, "'w' has the element type BFLOAT16, which NumPy has not"),
        ({"data_type": 99}, "'w' has the element type 99"),
    ):
        fields = {"name": "w", "data_type": TensorProto.FLOAT, "dims": [4], "raw_data": bytes(16), **change}
        model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], inputs=[("x", [4])])
        model.graph.initializer.append(TensorProto(**fields))
        refused(model, fragment)


@pytest.mark.parametrize("content", [b"x", b"PK\x03\x04", bytes(3000), b"text\n" * 99])
def test_what_is_no_model(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    message_of(
        ValueError, lambda: load(tmp_path / "m"), repr(str(tmp_path / "m")), "is no ONNX model, or it is damaged"
    )
    message_of(ValueError, lambda: load(content), "the model is no ONNX model, or it is damaged")


def test_paths_that_lead_nowhere(tmp_path):
    message_of(FileNotFoundError, lambda: load(tmp_path / "nothing"), "there is no such file")
    message_of(IsADirectoryError, lambda: load(tmp_path), "which is a folder")
    message_of(TypeError, lambda: load(3), "path is 3 of type int; give a path")
    message_of(ValueError, lambda: load(ModelProto(), empty_sequences="x"), "empty_sequences is 'x'")
    message_of(ValueError, lambda: load(ModelProto()), "it imports no opset")


def test_operators_that_have_changed_since(monkeypatch):
    """A newer opset is read; an operator that is another in it is not."""
    monkeypatch.setattr(reading, "NEWEST", 12)
    model = [helper.make_node("Neg", ["x"], ["y"])]
    assert load(model_of(model, 12, inputs=[("x", [1])]))(ONE) == -1
    model = [helper.make_node("Softmax", ["x"], ["y"])]
    assert load(model_of(model, 12, inputs=[("x", [1, 1])]))(ONE[None]) == 1
    refused(model_of(model, 18, inputs=[("x", [1])]), "is an operator as it was in opset 13 that nblstm does not read")
