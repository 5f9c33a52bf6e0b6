"""Headers of the objects of an HDF5 file, and the file's bytes, each look at which is checked and counted."""

from __future__ import annotations

from nblstm.files.content import SizeLimit

UNDEFINED = 2**64 - 1

#: Types of messages in an object's header (IV.A.2).
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE, CONTINUED, SYMBOLS, ATTRIBUTES = (
    0x1, 0x2, 0x3, 0x6, 0x7, 0x8, 0xB, 0xC, 0x10, 0x11, 0x15,
)  # fmt: skip


class Source:
    """The file's bytes, each look at which is counted, and the memory that is taken for what they say."""

    def __init__(self, data: bytes):
        self._data = memoryview(data)
        self._left = 4 * len(data) + 65536
        self.limit = SizeLimit(len(data))
        self.seen: set[int] = set()
        self._collections: dict[int, dict[int, tuple[int, int]]] = {}

    def at(self, address: int, size: int) -> memoryview:
        """``size`` bytes from an address on."""
        if not 0 <= address <= address + size <= len(self._data):
            raise ValueError(f"it points to bytes {address} to {address + size} of {len(self._data)}")
        self._left -= size
        if self._left < 0:
            raise ValueError("its parts lie over one another")
        return self._data[address : address + size]

    def number(self, address: int, size: int) -> int:
        """An unsigned number."""
        return int.from_bytes(self.at(address, size), "little")

    def signed(self, address: int, expected: bytes) -> None:
        """Refuse an address at which not these letters stand."""
        if bytes(self.at(address, len(expected))) != expected:
            raise ValueError(f"it has no {expected.decode()} at byte {address}")

    def collection(self, address: int) -> dict[int, tuple[int, int]]:
        """Address and size of each object in a collection of the global heap (III.E)."""
        if address not in self._collections:
            self.signed(address, b"GCOL")
            found = self._collections[address] = {}
            end, at = address + self.number(address + 8, 8), address + 16
            while at + 16 <= end:
                index, size = self.number(at, 2), self.number(at + 8, 8)
                if not index:
                    break
                self.limit.add(150, "its texts")
                found[index] = at + 16, size
                at += 16 + -(-size // 8) * 8
        return self._collections[address]


def header(source: Source, address: int) -> list[tuple[int, memoryview]]:
    """Types and bodies of the messages of an object's header, of either version (IV.A.1)."""
    if bytes(source.at(address, 4)) == b"OHDR":
        return _header_2(source, address)
    if source.number(address, 1) != 1:
        raise ValueError(f"it has no object's header at byte {address}")
    found: list[tuple[int, memoryview]] = []
    blocks = [(address + 16, source.number(address + 8, 4))]
    while blocks:
        at, size = blocks.pop()
        block = source.at(at, size)
        while len(block) >= 8:
            kind, length = int.from_bytes(block[:2], "little"), int.from_bytes(block[2:4], "little")
            _take(source, found, blocks, kind, block[4], block[8 : 8 + length], length)
            block = block[8 + length :]
    return found


def _header_2(source: Source, address: int) -> list[tuple[int, memoryview]]:
    """`header` of version 2, in which groups that keep the order of their members have theirs."""
    flags = source.number(address + 5, 1)
    at = address + 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
    width = 1 << (flags & 3)
    head = 6 if flags & 4 else 4
    found: list[tuple[int, memoryview]] = []
    blocks = [(at + width, source.number(at, width))]
    first = True
    while blocks:
        at, size = blocks.pop()
        if not first:
            source.signed(at, b"OCHK")
            at, size = at + 4, size - 8  # behind the letters, before the checksum
        first = False
        block = source.at(at, max(size, 0))
        while len(block) >= head:
            kind, length = block[0], int.from_bytes(block[1:3], "little")
            _take(source, found, blocks, kind, block[3], block[head : head + length], length)
            block = block[head + length :]
    return found


def _take(source: Source, found: list, blocks: list, kind: int, flags: int, body: memoryview, length: int) -> None:
    """Add a message to ``found``, or the block that it leads to to ``blocks``."""
    if len(body) < length:
        raise ValueError("an object's header ends within a message")
    if kind == CONTINUED:
        blocks.append((int.from_bytes(body[:8], "little"), int.from_bytes(body[8:16], "little")))
    elif kind:
        if flags & 2:
            raise ValueError("it shares parts of objects")
        source.limit.add(320, "the headers of its objects")  # a view has 200 bytes, a pair 72, its place up to 9
        found.append((kind, body))
