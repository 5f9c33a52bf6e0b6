"""torch's files, as `torch.save` writes them: a pickle that describes the tensors, and the bytes of each storage.

Since torch 1.6 they are a zip, with the pickle as ``data.pkl`` and each storage as ``data/KEY``; before, and with
``_use_new_zipfile_serialization=False``, pickles and storages one behind the other. Nothing in them is executed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import numpy as np

from nblstm.files.content import SizeLimit, open_zip
from nblstm.files.element_types import NARROW, NUMPY, itemsize, numbers
from nblstm.files.npz import members_of
from nblstm.files.pickle_reader import PickleReader

#: Begins a file of the older format, as a pickle, and then its version.
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001

#: Dicts in dicts, at most.
_DEPTH = 20

_SAVE_ANEW = "save the parameters alone, by torch.save(model.state_dict(), path)"


@dataclass(frozen=True)
class _ElementType:
    """A type of numbers; None for bytes whose type the tensor has."""

    name: str | None


@dataclass(frozen=True)
class _Storage:
    """Bytes in a file, which tensors are views of."""

    key: str
    type: _ElementType
    nbytes: int


class _Tensor:
    """A view of a storage: where it begins, and its shape and strides in numbers."""

    def __init__(self, storage, start, shape, strides, type_=None):
        described = isinstance(storage, _Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
        if not described or len(shape) != len(strides) or len(shape) > 32:
            raise ValueError("it has a tensor without a storage, a shape or strides")
        if not all(type(n) is int and 0 <= n < 1 << 60 for n in (start, *shape, *strides)):
            raise ValueError("it has a tensor whose shape or strides are no whole numbers, or negative")
        type_ = storage.type if type_ is None else type_
        if not isinstance(type_, _ElementType) or type_.name is None:
            raise ValueError("it has a tensor without a type")
        held = storage.nbytes // itemsize(type_.name)
        last = start + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if all(shape) and last >= held:
            raise ValueError(f"it has a tensor of shape {shape} that goes beyond its storage of {held} numbers")
        self.storage, self.start, self.shape, self.strides, self.type = storage, start, shape, strides, type_.name


class TorchFile:
    """An open file; storages are read when a tensor of theirs is asked for.

    Attributes
    ----------
    names : list of str
        Of the tensors; those in dicts within dicts have the keys before them, ``"model.encoder.weight"``.
    metadata : dict of str to str
        Empty.
    """

    def __init__(self, file: BinaryIO, size: int):
        self.metadata: dict[str, str] = {}
        self._limit = SizeLimit(size)
        self._stored: dict[str, _Storage] = {}
        self._numbers: dict[tuple[str, str], np.ndarray] = {}
        self._searched: dict[int, list[tuple[Any, Any]]] = {}  # by the id of a container
        begin = _open_zip if file.read(2) == b"PK" else _open_older
        value, self._raw = begin(file, size, self._reader)
        if not isinstance(value, dict):
            raise ValueError(f"it has no dict of tensors; {_SAVE_ANEW}")
        self._tensors: dict[str, _Tensor] = {}
        for name, tensor in self._found(value, "", _DEPTH):
            if name in self._tensors:
                raise ValueError(f"it has two tensors {name!r}")
            self._tensors[name] = tensor
        self._searched.clear()
        self.names = list(self._tensors)
        if not self.names:
            raise ValueError(f"it has no tensor; {_SAVE_ANEW}")

    def array(self, name: str) -> np.ndarray:
        """The tensor of that name, a read-only view of its storage."""
        tensor = self._tensors[name]
        storage, key = tensor.storage, (tensor.storage.key, tensor.type)
        if key not in self._numbers:
            self._limit.add(storage.nbytes if tensor.type in NUMPY else 6 * storage.nbytes, "its tensors")
            raw = self._raw(storage)
            if len(raw) != storage.nbytes:
                raise ValueError(f"its storage {storage.key!r} has not the {storage.nbytes} bytes that it should have")
            size = itemsize(tensor.type)
            self._numbers[key] = numbers(raw[: len(raw) // size * size], tensor.type)
        if prod(tensor.shape) > self._numbers[key].size:
            raise ValueError(f"its tensor {name!r} was made by expand(); save what contiguous() returns of it")
        if not all(tensor.shape):
            return np.empty(tensor.shape, self._numbers[key].dtype)
        held = self._numbers[key][tensor.start :]
        strides = [stride * held.itemsize for stride in tensor.strides]
        return np.lib.stride_tricks.as_strided(held, tensor.shape, strides, writeable=False)

    def _reader(self, file: BinaryIO) -> tuple[PickleReader, dict[str, _Storage]]:
        known = _KNOWN | {"collections.OrderedDict": self._ordered}
        return PickleReader(file, self._limit, known, self._storage), self._stored

    def _storage(self, described) -> _Storage:
        """The storage of a persistent id ("storage", type, key, device, count, view)."""
        if not isinstance(described, tuple) or len(described) not in (5, 6) or described[0] != "storage":
            raise ValueError(f"its pickle refers to what is no storage; {_SAVE_ANEW}")
        type_, key, count = described[1], described[2], described[4]
        if described[5:] not in ((), (None,)):
            raise ValueError("its storages are pieces of others, as torch before 0.4 had them; save it anew")
        if not isinstance(type_, _ElementType) or not isinstance(key, str) or type(count) is not int or count < 0:
            raise ValueError("it has a storage without a type, a key or a size")
        made = _Storage(key, type_, count * (1 if type_.name is None else itemsize(type_.name)))
        if self._stored.setdefault(key, made) != made:
            raise ValueError(f"it has two storages {key!r}")
        return made

    def _ordered(self, pairs=()) -> dict:
        """An OrderedDict, which Python 2 pickled as a list of pairs."""
        self._limit.add(200 * len(pairs), "its pickle")
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
            raise ValueError("its pickle has a dict without keys and values")
        return {pair[0]: pair[1] for pair in pairs}

    def _found(self, value, prefix: str, depth: int) -> Iterator[tuple[str, _Tensor]]:
        """Names and tensors in a value, and in what it holds."""
        if depth == 0:
            raise ValueError(f"its dicts and lists nest more than {_DEPTH} levels deep")
        for key, held in self._parts(value):
            name = f"{prefix}{key}"
            self._limit.add(200 + len(name), "the names of its tensors")  # many may hold the same dict
            if isinstance(held, _Tensor):
                yield name, held
            else:
                yield from self._found(held, f"{name}.", depth - 1)

    def _parts(self, value) -> list[tuple[Any, Any]]:
        """Keys and values of a container, those that can have tensors; a list of a million numbers is searched once."""
        if id(value) not in self._searched:
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            found = [(key, held) for key, held in pairs if isinstance(held, dict | list | tuple | _Tensor)]
            self._limit.add(200 + 100 * len(found), "its pickle")
            self._searched[id(value)] = found
        return self._searched[id(value)]


def _open_zip(file: BinaryIO, size: int, reader: Callable) -> tuple[Any, Callable[[_Storage], bytes]]:
    """The value in ``data.pkl``, and what reads a storage."""
    archive = open_zip(file, size)
    if any(name.endswith("/constants.pkl") for name in archive.namelist()):
        raise ValueError(f"it is a program of TorchScript; {_SAVE_ANEW}")
    members = members_of(archive, size)
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"it has {len(pickles)} members data.pkl")
    folder = pickles[0].removesuffix("data.pkl")

    def read(name: str) -> bytes:
        info = members.get(folder + name)
        if info is None:
            raise ValueError(f"it has no member {name!r}")
        if info.CRC == 0:  # by torch.serialization.set_crc32_options(False)
            info.CRC = None  # type: ignore[assignment]  # zipfile compares none then
        with archive.open(info) as member:
            return member.read(info.file_size)

    if f"{folder}byteorder" in members and read("byteorder") != b"little":
        raise ValueError("its numbers have their larger bytes first; save it on a machine where they have not")
    pickled, _ = reader(io.BytesIO(read("data.pkl")))
    return pickled.read(), lambda storage: read(f"data/{storage.key}")


def _open_older(file: BinaryIO, size: int, reader: Callable) -> tuple[Any, Callable[[_Storage], bytes]]:
    """The value of the pickle behind magic number, version and machine, and what reads a storage."""
    file.seek(0)
    pickled, stored = reader(file)
    if pickled.read() != _MAGIC:
        raise ValueError("it does not begin as torch.save begins a file")
    version, machine = pickled.read(), pickled.read()
    if version != _VERSION or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("it is of another version, or of a machine whose numbers have their larger bytes first")
    value, keys = pickled.read(), pickled.read()
    places, at = {}, file.tell()
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in stored for key in keys):
        raise ValueError("it has no list of its storages")
    for key in keys:  # 8 bytes have the count of its numbers, which the pickle has too
        places[key] = at + 8
        at += 8 + stored[key].nbytes
    if at > size:
        raise ValueError("it is cut off")

    def read(storage: _Storage) -> bytes:
        if storage.key not in places:
            raise ValueError(f"it has no storage {storage.key!r}")
        file.seek(places[storage.key])
        return file.read(storage.nbytes)

    return value, read


def _view(storage, start, shape, strides, requires_grad=None, hooks=None, metadata=None) -> _Tensor:
    if metadata:
        raise ValueError("it has a conjugated or negated tensor; save what resolve_conj() and resolve_neg() return")
    return _Tensor(storage, start, shape, strides)


def _typed_view(storage, start, shape, strides, requires_grad, hooks, type_, metadata=None) -> _Tensor:
    if metadata or type_ is None:
        raise ValueError("it has a conjugated or negated tensor; save what resolve_conj() and resolve_neg() return")
    return _Tensor(storage, start, shape, strides, type_)


def _first(value, *others):
    return value


def _of_type(make, kind, arguments, state=None):
    """A tensor with attributes of Python's, which are left out."""
    if make not in (_view, _typed_view, _first) or not isinstance(arguments, tuple):
        raise ValueError(f"it has a tensor of a class of its own; {_SAVE_ANEW}")
    return make(*arguments)


def _nothing(*arguments) -> None:
    """None, for a value that holds no tensor."""


_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip

#: What is passed over: no tensor is in it that has a name. Protocol 2 has the names of Python 2.
_BUILTINS = "builtins", "__builtin__"
_VALUES = "complex bytearray range xrange slice int long float bool str unicode list dict tuple object"
_OBJECTS = """
    argparse.Namespace types.SimpleNamespace datetime.date datetime.datetime datetime.time datetime.timedelta
    datetime.timezone decimal.Decimal fractions.Fraction uuid.UUID pathlib.PosixPath pathlib.WindowsPath
    pathlib.PurePosixPath pathlib.PureWindowsPath pathlib._local.PosixPath pathlib._local.WindowsPath
    pathlib._local.PurePosixPath pathlib._local.PureWindowsPath
"""

#: All that a pickle in a file of torch's may refer to.
_KNOWN: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _view,
    "torch._utils._rebuild_tensor_v2": _view,
    "torch._utils._rebuild_tensor_v3": _typed_view,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type": _of_type,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Tensor": _nothing,
    "torch.nn.parameter.Parameter": _nothing,
    "torch.Size": _first,
    "torch.device": _nothing,
    "torch.storage.UntypedStorage": _ElementType(None),
    **{f"torch.{name}": _ElementType(kind) for name, kind in _STORAGES.items()},
    **{f"torch.{name}": _ElementType(name) for name in (*NUMPY, *NARROW)},
    # Of Python and NumPy: values beside the tensors, such as the best loss so far and the arguments of a program.
    **{f"{builtins}.{name}": _first for builtins in _BUILTINS for name in ("set", "frozenset")},
    **{f"{builtins}.{name}": _nothing for builtins in _BUILTINS for name in _VALUES.split()},
    **dict.fromkeys(_OBJECTS.split(), _nothing),
    **dict.fromkeys(["_codecs.encode", "collections.Counter"], _first),
    "collections.defaultdict": lambda *of: {},
    "collections.deque": lambda *of: [],
    **dict.fromkeys([f"numpy.{name}" for name in ("dtype", "ndarray")], _nothing),
    **{
        f"numpy.{core}.multiarray.{name}": _nothing for core in ("core", "_core") for name in ("scalar", "_reconstruct")
    },
}
