"""NumPy's .npz: a zip of .npy members. Texts lie in its comment, so that `numpy.load` sees arrays alone."""

from __future__ import annotations

import json
import zipfile
from math import prod
from typing import BinaryIO

import numpy as np

from nblstm.files.content import LONGEST_COMMENT, SizeLimit, open_zip

#: Ends the name of each member that is an array.
_ENDING = ".npy"


class NpzFile:
    """An open file; arrays are read when they are asked for.

    Attributes
    ----------
    names : list of str
    metadata : dict of str to str
    """

    def __init__(self, file: BinaryIO, size: int):
        self._archive = open_zip(file, size)
        self._members = members_of(self._archive, size, compressed=True)
        self.names = [name.removesuffix(_ENDING) for name in self._members if name.endswith(_ENDING)]
        if not self.names:
            raise ValueError("it has no member that is an array")
        self.metadata = _metadata(self._archive.comment)

    def array(self, name: str) -> np.ndarray:
        """The array of that name."""
        return array_of(self._archive, self._members[name + _ENDING])


def members_of(archive: zipfile.ZipFile, size: int, compressed: bool = False) -> dict[str, zipfile.ZipInfo]:
    """The members by name, of an archive in a file of ``size`` bytes.

    Raises
    ------
    ValueError
        If they are not each by itself, or would be larger than the file, ten times where they may be ``compressed``.
    """
    members = {info.filename: info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise ValueError("it has two members of one name")
    known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if compressed else (zipfile.ZIP_STORED,)
    if any(info.compress_type not in known or info.flag_bits & 1 for info in members.values()):
        raise ValueError("it has a compressed or encrypted member" if not compressed else "it has an encrypted member")
    if compressed:
        total = sum(info.file_size for info in members.values())
        SizeLimit(size).add(total, "its members, unless saved uncompressed by numpy.savez,")
    elif sum(info.file_size for info in members.values()) > size:
        raise ValueError("its members claim to be larger than the file")
    return members


def array_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """The array in a .npy member, read-only."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"{info.filename} has .npy version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        if dtype.kind not in "fiub" or dtype.hasobject or dtype.itemsize > 8:
            raise ValueError(f"{info.filename} has dtype {dtype}")
        length = info.file_size - member.tell()
        if any(n < 0 for n in shape) or prod(shape) * dtype.itemsize != length:
            raise ValueError(f"{info.filename} has shape {shape}, which is not its length")
        data = member.read(length)  # no more is unpacked; at its end zipfile compares the checksum
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def member(name: str) -> zipfile.ZipInfo:
    """A member to be written, dated 1980, so that equal contents are equal files."""
    return zipfile.ZipInfo(name)


def write_member(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    """Write an array as a member, uncompressed."""
    with archive.open(member(name), "w", force_zip64=True) as target:
        np.lib.format.write_array(target, array, allow_pickle=False)


def write(file: BinaryIO, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays and texts; equal ones give equal files."""
    comment = json.dumps(metadata).encode() if metadata else b""
    if len(comment) > LONGEST_COMMENT:
        raise ValueError(
            f"what belongs to the arrays, such as a cell's equations, has {len(comment)} bytes, and .npz holds "
            f"{LONGEST_COMMENT}; save under a name that ends in .safetensors"
        )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = comment
        for name, array in arrays.items():
            write_member(archive, name + _ENDING, array)


def _metadata(comment: bytes) -> dict[str, str]:
    """The texts that `write` put into the comment; none where that is another program's."""
    if not comment.startswith(b'{"'):
        return {}
    found = json.loads(comment.decode())
    return {name: text for name, text in found.items() if isinstance(text, str)}
