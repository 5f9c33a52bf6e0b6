"""An ONNX graph while it is made: nodes, initializers, local functions, and names that are not taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from nblstm.onnx.subgraphs import names_read

#: Domain of the local functions: equations of cells and of activations.
DOMAIN = "nblstm"


class GraphBuilder:
    """Nodes in the order in which they run; each method adds some and returns the name of the result.

    Parameters
    ----------
    opset : int
        Version of the standard operators.
    outer : GraphBuilder, optional
        Of the graph whose node has this one as its body: names are unique in both, and initializers go there.
    within_function : bool
        Whether this is the body of a local function, where constants are nodes.

    Attributes
    ----------
    nodes : list of NodeProto
    initializers : list of TensorProto
    functions : dict of Any to FunctionProto
        By what they were made of.
    cells : dict of str to Any
        For functions of cells what the file says of these.
    """

    def __init__(self, opset: int, outer: GraphBuilder | None = None, within_function: bool = False):
        self.opset, self._within_function = opset, within_function
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = [] if outer is None else outer.initializers
        self.functions: dict[Any, FunctionProto] = {} if outer is None else outer.functions
        self.cells: dict[str, Any] = {} if outer is None else outer.cells
        self._taken: set[str] = set() if outer is None else outer._taken
        self._constants: dict[Any, str] = {} if outer is None or within_function else outer._constants
        self.prefix: str = "" if outer is None else outer.prefix

    def reserve(self, name: str) -> str:
        """Keep a name of an input or output from being given to anything else."""
        self._taken.add(name)
        return name

    def unique(self, hint: str) -> str:
        """A name that is not taken, which begins with the prefix and the hint."""
        name = wanted = storable(self.prefix + hint)
        count = 1
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        return self.reserve(name)

    def node(self, op: str, *inputs: str, hint: str = "", domain: str = "", **attributes: Any) -> str:
        """Add a node with one result."""
        return self.nodes_of(op, inputs, [hint or op.lower()], domain, **attributes)[0]

    def nodes_of(
        self, op: str, inputs: Sequence[str], hints: Sequence[str], domain: str = "", called: str = "",
        **attributes: Any,
    ) -> list[str]:  # fmt: skip
        """Add a node with several results, of which an empty hint leaves one out; ``called`` is the node's name."""
        results = [self.unique(hint) if hint else "" for hint in hints]
        name = self.unique(called or op)
        self.nodes.append(helper.make_node(op, list(inputs), results, name=name, domain=domain, **attributes))
        return results

    def named(self, value: str, name: str) -> str:
        """Give a value a name that was reserved, such as that of an output."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=self.unique("Identity")))
        return name

    def weight(self, array: np.ndarray, hint: str) -> str:
        """Add parameters under a name of their own."""
        name = self.unique(hint)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def constant(self, value: Any, dtype: str = "int64") -> str:
        """Add numbers that are no parameters, once for equal ones."""
        array = np.asarray(value, dtype)
        key = array.shape, dtype, array.tobytes()
        if key not in self._constants:
            kept, self.prefix = self.prefix, ""
            if self._within_function:
                tensor = numpy_helper.from_array(array)
                self._constants[key] = self.node("Constant", hint="constant", value=tensor)
            else:
                self._constants[key] = self.weight(array, "constant")
            self.prefix = kept
        return self._constants[key]

    def cast(self, x: str, dtype: str) -> str:
        """Convert to another dtype."""
        return self.node("Cast", x, to=element_type(dtype))

    def reduce(self, op: str, x: str, axes: Sequence[int], keepdims: bool) -> str:
        """Add ReduceSum, ReduceMean or ReduceMax: axes are an input of the one, and of all from opset 18 on."""
        if op == "ReduceSum" or self.opset >= 18:
            return self.node(op, x, self.constant(list(axes)), keepdims=int(keepdims))
        return self.node(op, x, axes=list(axes), keepdims=int(keepdims))

    def split(self, x: str, sizes: Sequence[int], hints: Sequence[str], axis: int = -1) -> list[str]:
        """Cut into pieces of these sizes."""
        if len(sizes) == 1:
            return [x]
        return self.nodes_of("Split", [x, self.constant(list(sizes))], hints, axis=axis)

    def concat(self, values: Sequence[str], axis: int) -> str:
        """Put values side by side."""
        return values[0] if len(values) == 1 else self.node("Concat", *values, axis=axis)

    def squeeze(self, x: str, axis: int) -> str:
        """Take an axis of size 1 away."""
        return self.node("Squeeze", x, self.constant([axis]))

    def unsqueeze(self, x: str, axis: int) -> str:
        """Insert an axis of size 1."""
        return self.node("Unsqueeze", x, self.constant([axis]))

    def sizes(self, x: str, start: int, end: int) -> str:
        """Sizes of some axes, as a vector."""
        return self.node("Shape", x, start=start, end=end)

    def drop_unused(self, outputs: Iterable[str]) -> None:
        """Take nodes and initializers away that no output needs, of which runtimes warn."""
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                kept.append(node)
                needed |= set(names_read(node))
        self.nodes = kept[::-1]
        self.initializers = [tensor for tensor in self.initializers if tensor.name in needed]

    def function(self, key: Any, name: str, make: Any) -> str:
        """Name of the local function that was made of ``key``; ``make(name)`` makes it at the first use."""
        if key not in self.functions:
            taken = {made.name for made in self.functions.values()}
            unique, count = storable(name), 1
            while unique in taken:
                count += 1
                unique = f"{storable(name)}_{count}"
            self.functions[key] = make(unique)
        return self.functions[key].name


def storable(name: str) -> str:
    """A name as UTF-8 can hold it."""
    return name.encode("utf-8", "backslashreplace").decode()


def element_type(dtype: str) -> int:
    """ONNX's number of a dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def value_info(name: str, dtype: str, shape: Sequence[int | str | None] | None) -> onnx.ValueInfoProto:
    """Name, dtype and shape of an input or output; a dimension is a number, a name, or unknown."""
    return helper.make_tensor_value_info(name, element_type(dtype), shape)
