"""An ONNX file as its graph: what is in it is checked against ONNX's own schemas, operator by operator."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto, defs

from nblstm.arguments import validate
from nblstm.files.content import in_short
from nblstm.onnx.operators import OPERATORS, Operator
from nblstm.onnx.subgraphs import shown
from nblstm.onnx.tensors import array_of, dtype_of

#: The oldest opset that is read, as by onnxruntime: before, binary operators broadcast by other rules. An operator that
#: has changed after the newest one here is refused.
OLDEST, NEWEST = 7, 28

#: Names that stand for ONNX's own operators.
DOMAINS = ("", "ai.onnx")

#: What to do about operators that hold graphs, or values that are no arrays.
_ADVICE = {
    "If": "export the model with the branch that is taken, by arguments that choose it",
    "Loop": "export the recurrence as an LSTM, GRU or RNN node, as torch's exporters do; Keras models are read from "
    "their .keras files by nblstm.models.load_model",
    "Scan": "have onnx.version_converter convert the model to opset 9 or newer",
}

#: Operators that are no function of `OPERATORS`.
_BESIDE = ("LSTM", "GRU", "RNN", "Constant", "Scan")

#: The first opset whose Scan has no batches of its own.
SCAN_SINCE = 9


def model_of(source: Any) -> tuple[ModelProto, int, str]:
    """A model from the path of a file, its bytes or a ModelProto; its size in bytes, and its name in errors."""
    if isinstance(source, ModelProto):
        return source, source.ByteSize(), "the model"
    if isinstance(source, bytes | bytearray | memoryview):
        content, name = bytes(source), "the model"
    else:
        path = validate.source_path("path", source)
        name = repr(os.fspath(path))
        with open(path, "rb") as file:
            content = file.read()
    try:
        model = ModelProto.FromString(content)
    except DecodeError:
        raise ValueError(f"{name} is no ONNX model, or it is damaged: protobuf cannot decode it") from None
    if not model.HasField("graph"):
        raise ValueError(f"{name} is no ONNX model, or it is damaged: it has no graph")
    return model, len(content), name


def opset_of(imports: Iterable[OperatorSetIdProto], usual: int | None = None) -> int:
    """The version of ONNX's operators that a model or a function uses; ``usual`` where it names none."""
    versions = [entry.version for entry in imports if entry.domain in DOMAINS] or [usual]
    if versions[0] is None:
        raise ValueError("it imports no opset of ONNX's operators; the file is damaged")
    newest = defs.onnx_opset_version()
    if not OLDEST <= versions[0] <= newest:
        raise ValueError(
            f"it uses opset {versions[0]}, and nblstm reads {OLDEST} to {newest} with this version of onnx; "
            "export it with one of these, or have onnx.version_converter convert it"
        )
    return versions[0]


def reason(error: Exception) -> str:
    """The reason why something cannot be computed; errors of other kinds than nblstm's sentences come in brackets.

    A time limit that a signal's handler sets is no reason: it is raised again.
    """
    if isinstance(error, TimeoutError) and error.errno is None:
        raise error
    text = in_short(error)
    return text if type(error) is ValueError and text else f"its inputs do not fit ({type(error).__name__}: {text})"


class Node:
    """A node of the graph, checked against its operator's schema.

    Attributes
    ----------
    label : str
        Its name and operator, for errors.
    name, kind : str
        Its name, and its operator's.
    inputs, outputs : list of str
        Names of arrays; empty where one is left out.
    attributes : dict
        With the schema's defaults.
    operator : Operator or None
        None for a recurrent one, a Constant and a Scan.
    """

    def __init__(self, node: NodeProto, opset: int, name: str):
        self.name, self.kind = name, node.op_type
        self.label = f"node {shown(name)} ({shown(node.op_type)[1:-1]})"
        self.inputs, self.outputs = list(node.input), list(node.output)
        schema = _schema(node.op_type, opset) if node.domain in DOMAINS else None
        if schema is None or schema.since_version > NEWEST or not self._known(schema):
            raise ValueError(self._unknown(node, schema))
        least, most = schema.min_input, schema.max_input
        if not least <= len(self.inputs) <= most or "" in self.inputs[:least]:
            raise ValueError(f"{self.label} has {len(self.inputs)} inputs; its operator takes {least} to {most}")
        if not schema.min_output <= len(self.outputs) <= schema.max_output:
            raise ValueError(f"{self.label} has {len(self.outputs)} outputs; its operator has {schema.max_output}")
        self.attributes = self._attributes(node, schema)
        self.operator: Operator | None = None
        if self.kind not in _BESIDE:
            versions = OPERATORS[self.kind]
            self.operator = versions[max(since for since in versions if since <= schema.since_version)]
            if not self.operator.several and len(self.outputs) > 1:
                raise ValueError(
                    f"{self.label} has {len(self.outputs)} outputs, as in training; export it after model.eval()"
                )
            for attribute in self.attributes:
                if not self.operator.takes(attribute):
                    raise ValueError(f"{self.label} has the attribute {attribute!r}, which nblstm does not support")

    def _known(self, schema: defs.OpSchema) -> bool:
        if self.kind == "Scan":
            return schema.since_version >= SCAN_SINCE
        return self.kind in _BESIDE or min(OPERATORS.get(self.kind, {NEWEST + 1: None})) <= schema.since_version

    def _unknown(self, node: NodeProto, schema: defs.OpSchema | None) -> str:
        whose = "" if node.domain in DOMAINS else f" of the domain {shown(node.domain)}"
        advice = _ADVICE.get(self.kind, "nblstm.onnx lists those that it reads in docs/onnx.md")
        if "Sequence" in self.kind:
            advice = "export the model with arrays in place of lists of arrays; torch's nn.RNN with dynamo=False"
        since = f" as it was in opset {schema.since_version}" if schema and self.kind in (*OPERATORS, "Scan") else ""
        return f"{self.label} is an operator{whose}{since} that nblstm does not read; {advice}"

    def _attributes(self, node: NodeProto, schema: defs.OpSchema) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for given in node.attribute:
            known = schema.attributes.get(given.name)
            if known is None or given.name in values or given.ref_attr_name or int(known.type.value) != given.type:
                raise ValueError(
                    f"{self.label} has an attribute {shown(given.name)} that its operator has not, or not of this "
                    "type; the file is damaged"
                )
            values[given.name] = self._value(given)
        for name, known in schema.attributes.items():
            if name not in values and known.required:
                raise ValueError(f"{self.label} lacks the attribute {name!r}, which its operator needs")
            if name not in values and known.default_value.type:
                values[name] = self._value(known.default_value)
        return values

    def _value(self, attribute: AttributeProto) -> Any:
        kind = AttributeProto.AttributeType.Name(attribute.type)
        try:
            if kind in ("INT", "FLOAT"):
                return attribute.i if kind == "INT" else attribute.f
            if kind in ("INTS", "FLOATS"):
                return tuple(attribute.ints if kind == "INTS" else attribute.floats)
            if kind in ("STRING", "STRINGS"):
                texts = [value.decode() for value in ([attribute.s] if kind == "STRING" else attribute.strings)]
                return texts[0] if kind == "STRING" else tuple(texts)
            if kind == "TENSOR":
                return array_of(attribute.t)
            if kind == "GRAPH" and self.kind == "Scan":
                return attribute.g
            reason = f"is a {kind}, which nblstm does not read"
        except UnicodeDecodeError:
            reason = "is no text; the file is damaged"
        except ValueError as error:
            reason = str(error)
        raise ValueError(f"{self.label} has an attribute {attribute.name!r}: {reason}")


@cache
def _schema(kind: str, opset: int) -> defs.OpSchema | None:
    try:
        return defs.get_schema(kind, opset, "")
    except defs.SchemaError:
        return None


def constant_of(node: Node) -> np.ndarray:
    """The array of a Constant."""
    if len(node.attributes) != 1:
        raise ValueError(f"{node.label} has {len(node.attributes)} attributes; it needs one, its value")
    ((name, value),) = node.attributes.items()
    if name == "value":
        return value
    if name not in ("value_int", "value_ints", "value_float", "value_floats"):
        raise ValueError(f"{node.label} has the attribute {name!r}, which nblstm does not support; it has texts")
    array = np.array(value, np.int64 if "int" in name else np.float32)
    array.flags.writeable = False
    return array


def described(info: ValueInfoProto) -> tuple[tuple[int | str | None, ...] | None, np.dtype]:
    """The shape and dtype of an input or output; a shape of None where the file gives none."""
    if info.type.WhichOneof("value") != "tensor_type":
        raise ValueError(f"{shown(info.name)} is no array; export the model with arrays")
    tensor = info.type.tensor_type
    try:
        dtype = dtype_of(tensor.elem_type)
    except ValueError as error:
        raise ValueError(f"{shown(info.name)} {error}") from None
    if not tensor.HasField("shape"):
        return None, dtype
    sizes: list[int | str | None] = []
    for size in tensor.shape.dim:
        sizes.append(size.dim_value if size.HasField("dim_value") else size.dim_param or None)
    return tuple(sizes), dtype
