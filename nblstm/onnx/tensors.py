"""Tensors of ONNX as arrays of NumPy's: element types, contents of a file, and what is refused."""

from __future__ import annotations

from math import prod

import numpy as np
from onnx import TensorProto, numpy_helper

#: The element types that NumPy has itself.
DTYPES = {
    getattr(TensorProto, name): np.dtype(dtype)
    for name, dtype in (
        ("FLOAT", "float32"), ("DOUBLE", "float64"), ("FLOAT16", "float16"), ("BOOL", "bool"),
        ("INT8", "int8"), ("INT16", "int16"), ("INT32", "int32"), ("INT64", "int64"),
        ("UINT8", "uint8"), ("UINT16", "uint16"), ("UINT32", "uint32"), ("UINT64", "uint64"),
    )
}  # fmt: skip


def dtype_of(element_type: int) -> np.dtype:
    """The dtype of an element type."""
    if element_type not in DTYPES:
        known = element_type in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(element_type) if known else str(element_type)
        raise ValueError(f"has the element type {name}, which NumPy has not; export the model with float32")
    return DTYPES[element_type]


def array_of(tensor: TensorProto) -> np.ndarray:
    """The content of a tensor, read-only.

    Raises
    ------
    ValueError
        If it lies in another file, has elements that NumPy has not, or is not as large as it says.
    """
    name = tensor.name or "a constant"
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        places = [entry.value for entry in tensor.external_data if entry.key == "location"]
        raise ValueError(
            f"{name!r} lies in another file, {places[0] if places else ''!r}, which nblstm does not open; save the "
            "model in one file, with onnx.save(onnx.load(path), new_path)"
        )
    shape = tuple(tensor.dims)
    try:
        dtype = dtype_of(tensor.data_type)
    except ValueError as error:
        raise ValueError(f"{name!r} {error}") from None
    if any(n < 0 for n in shape) or tensor.HasField("segment"):
        raise ValueError(f"{name!r} has the shape {shape}, or is one of several pieces; the file is damaged")
    if tensor.HasField("raw_data") and len(tensor.raw_data) != prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r} has shape {shape} and {len(tensor.raw_data)} bytes; the file is damaged")
    try:
        array = np.asarray(numpy_helper.to_array(tensor), dtype)
    except (ValueError, TypeError, OverflowError):
        array = None
    if array is None or array.shape != shape:
        raise ValueError(f"{name!r} has shape {shape}, and another number of elements; the file is damaged")
    array.flags.writeable = False
    return array
