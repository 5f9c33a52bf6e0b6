"""HDF5 files as Keras writes them, read without the HDF5 library: groups, attributes, and arrays that are not chunked.

The library is not made for files that somebody else has changed: of 3,000 mutations of a file of weights, HDF5 2.0
brought the process down with one and did not return from two. Here each address is checked against the file's end, an
array is a view of the file's bytes, and the bytes looked at are counted, so that no file takes more time or memory than
a few times its own length.

The format is that of "HDF5 File Format Specification", version 3.0; section numbers are its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from nblstm.models.keras_files.hdf5_groups import links
from nblstm.models.keras_files.hdf5_headers import (
    ATTRIBUTE,
    ATTRIBUTES,
    DATASPACE,
    DATATYPE,
    EXTERNAL,
    FILTERS,
    LAYOUT,
    LINK,
    LINK_INFO,
    SYMBOLS,
    UNDEFINED,
    Source,
    header,
)

SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Groups in groups; Keras's nest with its layers.
DEPTH = 40

IN_ONE_PIECE = "Keras writes arrays in one piece, as h5py's create_dataset(name, data=array) does"


@dataclass(slots=True)
class Group:
    """A group: attributes, and groups and arrays by name."""

    attributes: dict[str, Any] = field(default_factory=dict)
    members: dict[str, Group | np.ndarray] = field(default_factory=dict)

    def at(self, path: str) -> Group | np.ndarray | None:
        """The member at the end of names with slashes between; None if there is none."""
        found: Group | np.ndarray | None = self
        for name in path.split("/"):
            if name:
                found = found.members.get(name) if isinstance(found, Group) else None
        return found

    def group(self, path: str) -> Group:
        """The group at a path; an empty one if there is none."""
        found = self.at(path)
        return found if isinstance(found, Group) else Group()

    def array(self, path: str) -> np.ndarray:
        """The array at a path."""
        found = self.at(path)
        if not isinstance(found, np.ndarray):
            raise ValueError(f"it has no array {path!r}")
        return found


@dataclass(frozen=True, slots=True)
class Kind:
    """A datatype: that of NumPy's, or strings of variable length in the global heap."""

    size: int
    dtype: np.dtype | None


def read(data: bytes) -> Group:
    """The root group of a file, with all that is in it.

    Raises
    ------
    ValueError
        If the file is damaged, or has what Keras's files have not: links to other files, objects of two names, chunked
        or compressed arrays, types other than numbers and strings.
    """
    source = Source(data)
    if data[:8] != SIGNATURE:
        raise ValueError("it does not begin as an HDF5 file does")
    version = source.number(8, 1)
    sizes = bytes(source.at(13, 2)) if version < 2 else bytes(source.at(9, 2))
    if version > 3 or sizes != b"\x08\x08":
        raise ValueError(f"its superblock has version {version} and sizes of {list(sizes)} bytes")
    base = source.number({0: 24, 1: 28}.get(version, 12), 8)
    if base:
        raise ValueError(f"its addresses count from byte {base}")
    root = source.number({0: 64, 1: 68}.get(version, 36), 8)
    return _group(source, root, 0)


def _group(source: Source, address: int, depth: int) -> Any:
    """The object whose header is at an address: a group, or an array."""
    if depth > DEPTH:
        raise ValueError(f"its groups nest more than {DEPTH} levels deep")
    if address in source.seen:
        raise ValueError("it has an object of two names")
    source.seen.add(address)
    messages = header(source, address)
    kinds = {kind for kind, _ in messages}
    if LAYOUT in kinds:
        return _array(source, messages)
    if not kinds & {SYMBOLS, LINK_INFO, LINK}:
        raise ValueError("it has an object that is neither a group nor an array")
    made = Group()
    for kind, body in messages:
        if kind == ATTRIBUTE:
            name, value = _attribute(source, body)
            made.attributes[name] = value
        elif kind == ATTRIBUTES and bytes(body[2 + 2 * (body[1] & 1) :][:8]) != b"\xff" * 8:
            raise ValueError("it has more attributes of one group than Keras's files have")
    for name, target in links(source, messages):
        if name in made.members:
            raise ValueError("it has two members of one name")
        made.members[name] = _group(source, target, depth + 1)
    return made


def _array(source: Source, messages: list[tuple[int, memoryview]]) -> np.ndarray:
    """An array: a view of the file's bytes, that cannot be written to."""
    parts = dict(messages)
    if EXTERNAL in parts:
        raise ValueError("it has an array whose numbers are in another file")
    if FILTERS in parts:
        raise ValueError(f"it has an array that is compressed, or in chunks with a checksum; {IN_ONE_PIECE}")
    if DATASPACE not in parts or DATATYPE not in parts:
        raise ValueError("it has an array without shape or type")
    shape, kind_ = _shape(parts[DATASPACE]), _kind(parts[DATATYPE])
    if kind_.dtype is None or kind_.dtype.kind not in "fiu":
        raise ValueError("it has an array that is not of numbers")
    size = prod(shape) * kind_.size
    data = _data(source, parts[LAYOUT], size)
    return np.frombuffer(data, kind_.dtype, prod(shape)).reshape(shape)


def _data(source: Source, layout: memoryview, size: int) -> memoryview:
    """The ``size`` bytes of an array (IV.A.2.i)."""
    version = layout[0]
    if version in (3, 4):
        place = layout[1]
        if place == 0:
            return _all(layout[4 : 4 + int.from_bytes(layout[2:4], "little")], size)
        start = 2
    elif version in (1, 2):
        place = layout[2]
        if place == 0:
            start = 8 + 4 * layout[1]
            return _all(layout[start + 4 : start + 4 + int.from_bytes(layout[start : start + 4], "little")], size)
        start = 8
    else:
        raise ValueError(f"it has an array whose layout is of version {version}")
    if place != 1:
        kind = {2: "chunked", 3: "virtual"}.get(place, "nowhere")
        raise ValueError(f"it has an array that is {kind}; {IN_ONE_PIECE}")
    if not size:
        return layout[:0]
    address = int.from_bytes(layout[start : start + 8], "little")
    if address == UNDEFINED:
        raise ValueError("it has an array that was never written")
    return source.at(address, size)


def _all(data: memoryview, size: int) -> memoryview:
    if len(data) < size:
        raise ValueError("an array's shape is not its length")
    return data[:size]


def _shape(body: memoryview) -> tuple[int, ...]:
    """The shape that a dataspace tells of (IV.A.2.b); the empty one is (0,)."""
    version, rank = body[0], body[1]
    start = {1: 8, 2: 4}.get(version, 0)
    if not start or rank > 32 or len(body) < start + 8 * rank:
        raise ValueError("it has an array without a shape")
    if version == 2 and body[3] == 2:
        return (0,)
    shape = tuple(int.from_bytes(body[start + 8 * k : start + 8 * k + 8], "little") for k in range(rank))
    if prod(n or 1 for n in shape) > 2**48:
        raise ValueError(f"it has an array of shape {shape}")
    return shape


def _kind(body: memoryview) -> Kind:
    """A datatype (IV.A.2.d)."""
    kind, bits, size = body[0] & 15, body[1], int.from_bytes(body[4:8], "little")
    order = ">" if bits & 1 else "<"
    whole = int.from_bytes(body[8:10], "little") == 0 and int.from_bytes(body[10:12], "little") == 8 * size
    if kind == 0 and size in (1, 2, 4, 8) and whole:
        return Kind(size, np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}"))
    if kind == 1 and whole and size in (2, 4, 8) and (size, body[13]) in ((2, 5), (4, 8), (8, 11)):
        return Kind(size, np.dtype(f"{order}f{size}"))
    if kind == 3 and size:
        return Kind(size, np.dtype(f"S{size}"))
    if kind == 9 and bits & 15 == 1 and size == 16:
        return Kind(16, None)
    raise ValueError(f"it has numbers of type {kind} and {size} bytes")


def _attribute(source: Source, body: memoryview) -> tuple[str, Any]:
    """Name and value of an attribute: a string, a list of strings, or an array (IV.A.2.m)."""
    version = body[0]
    if version not in (1, 2, 3) or (version > 1 and body[1]):
        raise ValueError(f"it has an attribute of version {version}")
    sizes = [int.from_bytes(body[k : k + 2], "little") for k in (2, 4, 6)]
    at, parts = 9 if version == 3 else 8, []
    for size in sizes:
        parts.append(body[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    name = bytes(parts[0]).rstrip(b"\0").decode()
    kind, shape = _kind(parts[1]), _shape(parts[2])
    count = prod(shape)
    data = _all(body[at:], count * kind.size)
    source.limit.add(64 * count if kind.dtype is None or kind.dtype.kind == "S" else 0, "its lists of names")
    values: Any
    if kind.dtype is None:
        values = [_string(source, data[16 * k : 16 * k + 16]) for k in range(count)]
    elif kind.dtype.kind == "S":
        values = [bytes(data[kind.size * k : kind.size * (k + 1)]).rstrip(b"\0").decode() for k in range(count)]
    else:
        return name, np.frombuffer(data, kind.dtype, count).reshape(shape)
    return name, values if shape else values[0]


def _string(source: Source, place: memoryview) -> str:
    """A string of variable length: its length, and its place in a collection of the global heap."""
    length, address = int.from_bytes(place[:4], "little"), int.from_bytes(place[4:12], "little")
    if not length:
        return ""
    at, size = source.collection(address).get(int.from_bytes(place[12:16], "little"), (0, -1))
    if length > size:
        raise ValueError("it has an attribute whose text is not there")
    return bytes(source.at(at, length)).rstrip(b"\0").decode()
