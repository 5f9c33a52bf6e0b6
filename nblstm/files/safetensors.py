"""safetensors: the length of a JSON header, the header with each tensor's type, shape and place, and the numbers.

The format is https://github.com/huggingface/safetensors; nothing in it can be executed.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any, BinaryIO

import numpy as np

from nblstm.files.content import parsed
from nblstm.files.element_types import itemsize, numbers

#: The names of element types, and torch's.
_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64",
    "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
}  # fmt: skip
_NAMES = {name: short for short, name in _TYPES.items()}

_METADATA = "__metadata__"

#: The longest header that the library safetensors reads.
_LONGEST = 100_000_000


class SafetensorsFile:
    """An open file; tensors are read when they are asked for.

    Attributes
    ----------
    names : list of str
    metadata : dict of str to str
    """

    def __init__(self, file: BinaryIO, size: int):
        self._file, self._size = file, size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _LONGEST):
            raise ValueError(f"its header would have {length} bytes, and the file has {size}")
        text = file.read(length)
        header = parsed(text, size, "its header", object_pairs_hook=_once)
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
        self.metadata: dict[str, str] = header.pop(_METADATA, {})
        texts = [self.metadata, *self.metadata, *self.metadata.values()] if isinstance(self.metadata, dict) else []
        if not texts or not all(isinstance(text, str) for text in texts[1:]):
            raise ValueError("its metadata is no dict of strings")
        self._start = 8 + length
        self._tensors = {name: self._checked(name, entry) for name, entry in header.items()}
        self.names = list(self._tensors)
        self._check_places()

    def _checked(self, name: str, entry: Any) -> tuple[str, list[int], int, int]:
        """Type, shape and place of a tensor: first byte and the one behind the last."""
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"the tensor {name!r} is not described by dtype, shape and data_offsets alone")
        kind, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = isinstance(shape, list) and isinstance(place, list) and len(place) == 2 and len(shape) <= 32
        if not whole or not all(type(n) is int and n >= 0 for n in (*shape, *place)):
            raise ValueError(f"the tensor {name!r} has no shape or place of whole numbers")
        known = _TYPES.get(kind) if isinstance(kind, str) else None
        begin, end = place
        if not begin <= end <= self._size - self._start:
            raise ValueError(f"the tensor {name!r} lies beyond the end")
        if known is not None and prod(shape) * itemsize(known) != end - begin:
            raise ValueError(f"the tensor {name!r} has shape {tuple(shape)}, which is not its length")
        return known or str(kind), shape, begin, end

    def _check_places(self) -> None:
        """Check that tensors lie one behind the other, as the format wants: nothing is hidden between them."""
        at = 0
        for name, (_, _, begin, end) in sorted(self._tensors.items(), key=lambda entry: entry[1][2:]):
            if begin != at:
                raise ValueError(f"the tensor {name!r} does not begin where the one before it ends")
            at = end
        if at != self._size - self._start:
            raise ValueError(f"its tensors have {at} bytes, and there are {self._size - self._start}")

    def array(self, name: str) -> np.ndarray:
        """The tensor of that name."""
        kind, shape, begin, end = self._tensors[name]
        itemsize(kind)
        self._file.seek(self._start + begin)
        return numbers(self._file.read(end - begin), kind).reshape(shape)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header has two entries of one name")
    return found


def write(file: BinaryIO, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays and texts; arrays of equal content give equal files."""
    header: dict[str, Any] = {_METADATA: metadata} if metadata else {}
    at = 0
    # Larger elements first, so that each begins at a multiple of its size: whoever maps the file can use it in place.
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    for name in order:
        array = arrays[name]
        place = [at, at + array.nbytes]
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": place}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        array = arrays[name]
        file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
