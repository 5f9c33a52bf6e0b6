"""A model that was read from an ONNX file: a function of arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from nblstm.arguments import validate
from nblstm.files.content import in_short
from nblstm.nn.recurrent import Recurrent
from nblstm.onnx.planning import plan_of
from nblstm.onnx.reading import model_of
from nblstm.onnx.recurrent_node import RecurrentNode
from nblstm.onnx.scanned_cells import CellStep
from nblstm.onnx.steps import run


class ArrayInfo(NamedTuple):
    """An input or output of a model.

    Attributes
    ----------
    name : str
    shape : tuple or None
        A size, the name of one that a call decides, or None for one without a name; None if the file gives no shape.
    dtype : dtype
    """

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: np.dtype


class _Input:
    """An input: its place among a call's values, and its checks."""

    def __init__(self, place: int, info: ArrayInfo):
        self.place, self.info = place, info
        self._dtype, self._seen = info.dtype, None  # the shape that the last call had
        self._fixed = tuple([(k, n) for k, n in enumerate(info.shape or ()) if isinstance(n, int)])

    def array(self, value) -> np.ndarray:
        """The value as an array of this input's dtype, if its shape fits."""
        if type(value) is np.ndarray and value.dtype is self._dtype and value.shape == self._seen:
            return value
        name, shape, dtype = self.info
        if type(value) is not np.ndarray or value.dtype != dtype:
            value = self._converted(value)
        if shape is not None:
            if value.ndim != len(shape):
                raise ValueError(f"{name} has shape {value.shape}; it needs {len(shape)} dimensions, {_shown(shape)}")
            for axis, size in self._fixed:
                if value.shape[axis] != size:
                    raise ValueError(f"{name} has shape {value.shape}; it needs {_shown(shape)}")
        self._seen = value.shape
        return value

    def _converted(self, value) -> np.ndarray:
        name, _, dtype = self.info
        array = validate.number_array(name, value)
        if dtype.kind == "f":
            return validate.converted(name, array, dtype)
        if not np.can_cast(array.dtype, dtype, "same_kind" if dtype.kind != "b" else "safe"):
            raise TypeError(f"{name} has dtype {array.dtype}; it needs {dtype}, so convert it with astype")
        converted = array.astype(dtype)
        if not np.array_equal(converted, array):
            raise ValueError(f"{name} has numbers that {dtype} has not; give such as it has")
        return converted


def _shown(shape) -> str:
    return f"({', '.join('any' if n is None else str(n) for n in shape)})"


class OnnxModel:
    """A model of an ONNX file; made by `nblstm.onnx.load`.

    Attributes
    ----------
    inputs, outputs : list of ArrayInfo
        Name, shape and dtype of each, in the file's order. What the file gives a value is a constant and no input.
    recurrent : mapping of str to Recurrent
        Networks of `nblstm.nn` that compute the LSTM, GRU and RNN nodes, and the Scans that `nblstm.onnx.export` has
        written of other cells, by the nodes' names; a change to their
        parameters changes what the model computes. A node without a name, or with another's, is called by its operator
        and its place in the graph, such as ``"LSTM_3"``; one whose directions have different activations has two,
        ``"name.forward"`` and ``"name.reverse"``.
    left : mapping of str to str
        Names of recurrent nodes that are not in ``recurrent``, and why; they are computed all the same.
    """

    def __init__(self, source: Any, keeps_states: bool):
        model, size, name = model_of(source)
        try:
            plan = plan_of(model, size, keeps_states)
        except ValueError as error:
            raise ValueError(f"{name} cannot be read: {in_short(error)}") from None
        self._recurrent, self._left = plan.recurrent, plan.left
        self.inputs = [ArrayInfo(name, *described) for name, (_, *described) in plan.inputs.items()]
        self.outputs = [ArrayInfo(name, shape, dtype) for name, (_, shape, dtype, _) in plan.outputs.items()]
        self._inputs = [
            _Input(place, info) for (place, *_), info in zip(plan.inputs.values(), self.inputs, strict=True)
        ]
        self._results = [(place, shared) for place, _, _, shared in plan.outputs.values()]
        self._values, self._steps, self._doubts = plan.values, plan.steps, plan.doubts
        self._arithmetic = any(not isinstance(step.function, RecurrentNode | CellStep) for step in plan.steps)

    @property
    def recurrent(self) -> Mapping[str, Recurrent]:
        """Networks of the LSTM, GRU and RNN nodes, by name."""
        return MappingProxyType(self._recurrent)

    @property
    def left(self) -> Mapping[str, str]:
        """Names of recurrent nodes that are not in ``recurrent``, and why."""
        return MappingProxyType(self._left)

    def __repr__(self):
        made = [f"{', '.join(info.name for info in infos)}" for infos in (self.inputs, self.outputs)]
        return f"<OnnxModel {made[0]} -> {made[1]}, recurrent: {', '.join(self.recurrent) or 'none'}>"

    def __call__(self, *arrays, **named):
        """Compute the outputs.

        Parameters
        ----------
        *arrays : array_like
            The inputs in order; or one dict of names to arrays, as onnxruntime takes it.
        **named : array_like
            Inputs by name.

        Returns
        -------
        ndarray or tuple of ndarray
            The output, or a tuple of them in the order of ``outputs``; each has memory of its own.

        Raises
        ------
        TypeError, ValueError
            If an input is missing, unknown, or of another shape or dtype; or a node cannot compute with them.
        """
        if named or len(arrays) != len(self._inputs) or (arrays and type(arrays[0]) is dict):
            arrays = self._in_order(arrays, named)
        values = self._values.copy()
        for known, value in zip(self._inputs, arrays):  # noqa: B905  # of one length
            values[known.place] = known.array(value)
        if self._arithmetic:
            with np.errstate(all="ignore"):  # 0.9 us; a recurrent step does that itself
                run(self._steps, values)
        else:
            run(self._steps, values)
        results = []
        for place, shared in self._results:
            value = values[place]
            results.append(value if type(value) is np.ndarray and not shared else np.array(value))
        return results[0] if len(results) == 1 else tuple(results)

    def _in_order(self, arrays: tuple, named: dict[str, Any]) -> list:
        """Inputs that were given by name, or in part so, in order."""
        names = [info.name for info in self.inputs]
        if not named and len(arrays) == 1 and isinstance(arrays[0], dict) and [*arrays[0]] == names:
            return [*arrays[0].values()]
        for one in arrays if len(arrays) == 1 else ():
            if isinstance(one, dict):
                arrays, named = (), {**one, **named}
        given = dict(zip(names, arrays, strict=False))
        unknown = [name for name in named if name not in names]
        twice = [name for name in named if name in given]
        missing = [name for name in names if name not in given and name not in named]
        if len(arrays) > len(names) or unknown or twice or missing:
            came = ", ".join([*(["too many"] * (len(arrays) > len(names))), *(f"unknown {n!r}" for n in unknown),
                              *(f"{n!r} twice" for n in twice), *(f"no {n!r}" for n in missing)])  # fmt: skip
            raise TypeError(f"the inputs are {came}; give {', '.join(names) or 'none'}, in order or by name")
        return [given[name] if name in given else named[name] for name in names]


def load(path, *, empty_sequences: str = "zero") -> OnnxModel:
    """Read an ONNX model, to run it with its LSTM, GRU and RNN nodes on nblstm's engine.

    Parameters
    ----------
    path : path-like, bytes or onnx.ModelProto
        A file, its content, or a model in memory; in one piece, without external data.
    empty_sequences : {"zero", "initial"}, default "zero"
        The final states of a sequence whose length is 0: zeros, as onnxruntime has them, or the initial ones, as
        nblstm's networks have them.

    Returns
    -------
    OnnxModel
        Called with the inputs, it returns the outputs.

    Raises
    ------
    ValueError
        If the file is damaged, or has in it what nblstm does not read, such as Loop: in one sentence, with the node's
        name. Nothing in a file is executed, and reading takes no more memory than ten times the file, or 4 MB.

    Warns
    -----
    UserWarning
        If a node's activation Affine, ScaledTanh or ThresholdedRelu has no alpha or beta: they are 0 as in
        onnxruntime.

    Examples
    --------
    >>> from nblstm import onnx
    >>> model = onnx.load("speech.onnx")                      # doctest: +SKIP
    >>> y = model(x)                                          # doctest: +SKIP
    >>> model.recurrent["lstm"]                               # doctest: +SKIP
    LSTM(40, 128)
    """
    validate.choice("empty_sequences", empty_sequences, ("zero", "initial"))
    model = OnnxModel(path, empty_sequences == "initial")
    for doubt in model._doubts:
        warnings.warn(doubt, stacklevel=2)
    return model
