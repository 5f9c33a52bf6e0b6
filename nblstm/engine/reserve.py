"""The reserve of a training pass: all that BPTT reads of the forward pass, in one block of memory.

It is the pass's own, or the caller's (``forward(..., reserve=)``), as cuDNN's reserve space is. The block says by
itself what it is of, so BPTT can run from it alone, at another address or in a copy.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.masks import MaskedBatch
from nblstm.buffers.resets import ResetBatch
from nblstm.cells.stages import saved_row
from nblstm.engine.network import Network


class Reserve(dict[str, Any]):
    """The arrays of a reserve by name; empty on a device that has none."""

    def keep(self, name: str, array):
        """Copy rows to the array of that name, and return them there; the array itself where there is no such."""
        place = self.get(name)
        if place is None:
            return array
        place = place[..., : array.shape[-2], :]
        place[...] = array
        return place


Shapes = dict[str, tuple[tuple[int, ...], str]]

#: First number of each reserve.
MAGIC = 0x6E626C73746D


class Header(NamedTuple):
    """First numbers of a reserve, int64.

    Attributes
    ----------
    magic : int
    network : int
        `Network.mark` of the network whose pass it is.
    fill : int
        A random number, another one each time that a pass fills a reserve.
    T, B : int
        Steps and sequences of the padded batch.
    batched : int
        1 if the input has a batch dimension.
    checkpoint : int
        About so many steps between the states that are kept; 0 if all are.
    dropped, active : int
        1 with recurrent dropout in the cell; 1 with any dropout.
    learned : int
        1 if the pass began with the learned states.
    masked, hold : int
        1 with a mask; 1 if outputs of masked steps are those of the steps before them.
    restarts : int
        1 with resets, and then with a mask too.
    noise : int
        1 if the cell drew noise.
    wide : int
        Bit k is 1 if signal k has a number for each unit.
    drawn : int
        Seed of recurrent matrices that were drawn for this pass; 0 for none.
    checksum : int
        CRC-32 of the numbers before it.
    """

    magic: int
    network: int
    fill: int
    T: int
    B: int
    batched: int
    checkpoint: int
    dropped: int
    active: int
    learned: int
    masked: int
    hold: int
    restarts: int
    noise: int
    wide: int
    drawn: int
    checksum: int


HEADER: Shapes = {"header": ((len(Header._fields),), "int64")}
HEADER_SIZE = memory.size_of(HEADER)


def sealed(mark: int, *values: int) -> np.ndarray:
    """A header of those values, from T to drawn, as numbers."""
    fill = int.from_bytes(os.urandom(7), "little")
    numbers = np.array([MAGIC, mark, fill, *values, 0], "int64")
    numbers[-1] = crc32(numbers[:-1].tobytes())
    return numbers


def reproducible(network: Network, block: np.ndarray, batch: Any, noise: bool) -> None:
    """Make a filled reserve the same bytes for the same pass: no random number, and 0 where no array is."""
    shapes = reserve_shapes(network, batch, batch.N, None, False, noise)
    memory.zero_gaps(block, shapes)
    row, arrays = saved_row(network.variant(False, noise).cell), memory.cut(block, shapes)
    if row.numbers:  # behind them is room
        for k in range(network.num_layers):
            arrays[f"saved_{k}"][..., len(row.blocks) * network.hidden_size + len(row.numbers) :] = 0
    numbers = memory.cut(block, HEADER)["header"]
    numbers[Header._fields.index("fill")] = 0
    numbers[-1] = crc32(numbers[:-1].tobytes())


def _first_shapes(T: int, B: int, masked: bool, restarts: bool) -> Shapes:
    """Shapes of the arrays that say what the others are of."""
    flags = ["mask"] * masked + ["resets"] * restarts
    return HEADER | {"lengths": ((B,), "int64")} | dict.fromkeys(flags, ((T, B), "bool"))


def reserve_shapes(
    network: Network, batch: Any, rows: int, checkpoint: int | None, dropped: bool, noise: bool
) -> Shapes:
    """Shapes and dtypes of a reserve's arrays, for a batch of so many packed rows."""
    T, B, D, H, dtype = batch.T, batch.B, network.D, network.hidden_size, network.dtype
    found = _first_shapes(T, B, batch.gathered, batch.restarts)
    x = (rows, network.input_size)
    found["x"] = ((D, *x), dtype) if network.input_dropout and D > 1 else (x, dtype)
    if network.input_dropout:
        found["input_factors"] = ((D, B, 1, network.input_size), dtype)
    if dropped:
        found["recurrent_factors"] = ((network.num_layers * D, batch.packed.B, H), dtype)
    kept = network.backend.reserve_shapes(network.variant(dropped, noise), batch.packed, rows, checkpoint)
    for k in range(network.num_layers):
        if k and network.dropout:
            found |= {f"{name}_{k}": ((rows, D * H), dtype) for name in ("x", "factors")}
        found |= {f"{name}_{k}": (shape, dtype) for name, shape in kept.items()}
    return found


def largest_reserve(network: Network, batch: Any, rows: int, checkpoint: int | None) -> Any:
    """Bytes of a reserve of so many packed rows, with or without recurrent dropout and noise."""
    sizes = [
        memory.size_of(reserve_shapes(network, batch, rows, checkpoint, dropped, noise))
        for dropped in {False, network.recurrent_dropout > 0} for noise in {False, network.is_noisy}
    ]  # fmt: skip
    return max(sizes) if len(sizes) > 1 else sizes[0]


def checked_reserve(reserve: Any, size: int, writeable: bool) -> np.ndarray:
    """A reserve that a user gave, as bytes.

    Raises
    ------
    TypeError, ValueError
        If it is no contiguous array of ``size`` bytes or more that begins at a multiple of 8, or is to be written to
        and cannot be.
    """
    if not isinstance(reserve, np.ndarray):
        raise TypeError(f"reserve is {type(reserve).__name__}; give a NumPy array of {size} bytes, see reserve_size()")
    if not reserve.flags.c_contiguous or (writeable and not reserve.flags.writeable):
        raise ValueError(
            "reserve is not contiguous, or cannot be written to; give np.empty(reserve_size(...), 'uint8')"
        )
    if reserve.ctypes.data % 8:
        raise ValueError("reserve does not begin at a multiple of 8 bytes, as NumPy's arrays do; give np.empty(...)")
    if reserve.nbytes < size:
        raise ValueError(f"reserve has {reserve.nbytes} bytes; give {size}, as reserve_size() says")
    return reserve.reshape(-1).view(np.uint8)


def batch_of(network: Network, header: Header, block: np.ndarray) -> Any:
    """The batch that a reserve is of.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    T, B = header.T, header.B
    first = _first_shapes(T, B, bool(header.masked), bool(header.restarts))
    if memory.size_of(first) > len(block):
        raise ValueError("reserve has lost its end; give what forward(..., reserve=) has filled")
    arrays, found = network.backend.arrays, memory.cut(block, first)
    hold = bool(header.hold)
    if header.restarts:
        return ResetBatch(found["resets"].copy(), found["mask"].copy(), None, hold, network.directions, arrays)
    if header.masked:
        return MaskedBatch(found["mask"].copy(), hold, network.directions[0], arrays)
    lengths = found["lengths"].copy()
    if ((lengths < 0) | (lengths > T)).any():
        raise ValueError("reserve was overwritten; give what forward(..., reserve=) has filled")
    return arrays.batch(T, B, lengths)


def header_of(network: Network, block: np.ndarray) -> Header:
    """The header of a reserve that a forward pass of a network like this has filled.

    Raises
    ------
    ValueError
        If no forward pass has filled it, or one of another network, or if it is damaged.
    """
    numbers = memory.cut(block, HEADER)["header"]
    header = Header(*numbers.tolist())
    if header.magic != MAGIC:
        raise ValueError("reserve was not filled by forward(..., reserve=); give it there first")
    if header.checksum != crc32(numbers[:-1].tobytes()):
        raise ValueError("reserve was overwritten; give what forward(..., reserve=) has filled")
    if header.network != network.mark:
        raise ValueError(
            "reserve was filled by a network of another cell, size, dtype, direction or dropout; give it to that one"
        )
    return header


def write_batch(reserve: Reserve, batch: Any) -> None:
    """Write into a reserve what batch it is of, for `batch_of`."""
    if batch.gathered:
        reserve["mask"][...] = batch.mask
        if batch.restarts:
            reserve["resets"][...] = batch.resets
    else:
        reserve["lengths"][:] = batch.unsort(batch.lengths[:, None])[:, 0]


class Seal:
    """The header of a caller's reserve as a pass has filled it.

    Parameters
    ----------
    header : ndarray
        In the reserve.
    """

    def __init__(self, header: np.ndarray):
        self._header, self._filled = header, header.tobytes()

    def check(self) -> None:
        """Raise ValueError if the reserve no longer holds this pass."""
        if self._header.tobytes() != self._filled:
            raise ValueError("reserve was filled by another forward(), or overwritten, since this tape's; run it again")
