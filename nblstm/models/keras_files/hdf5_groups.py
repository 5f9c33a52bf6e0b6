"""Members of HDF5 groups: symbol tables, links in the group's header, and links in a fractal heap."""

from __future__ import annotations

from collections.abc import Iterator

from nblstm.models.keras_files.hdf5_headers import LINK, LINK_INFO, SYMBOLS, UNDEFINED, Source

#: Levels of a B-tree: with two entries to a node it would have 2**20 members.
LEVELS = 20


def links(source: Source, messages: list[tuple[int, memoryview]]) -> Iterator[tuple[str, int]]:
    """Name and header's address of each member of a group, from the messages of the group's header."""
    for kind, body in messages:
        if kind == SYMBOLS:
            tree, heap = (int.from_bytes(body[k : k + 8], "little") for k in (0, 8))
            source.signed(heap, b"HEAP")
            names = bytes(source.at(source.number(heap + 24, 8), source.number(heap + 8, 8)))
            yield from _symbols(source, tree, names, 0)
        elif kind == LINK:
            yield _link(body)
        elif kind == LINK_INFO:
            at = 2 + 8 * (body[1] & 1)
            heap, tree = (int.from_bytes(body[k : k + 8], "little") for k in (at, at + 8))
            if heap != UNDEFINED:
                space = FractalHeap(source, heap)
                for record in _records(source, tree):
                    yield _link(space.object(record[4:]))  # behind the hash of the name


def _symbols(source: Source, address: int, names: bytes, level: int) -> Iterator[tuple[str, int]]:
    """Members below a node of the B-tree of a symbol table (III.A.1, III.B)."""
    if level > LEVELS:
        raise ValueError("a group's tree is too deep")
    letters = bytes(source.at(address, 4))
    if letters == b"TREE":
        if source.number(address + 4, 1):
            raise ValueError("a group's tree is not of its members")
        for k in range(source.number(address + 6, 2)):
            yield from _symbols(source, source.number(address + 32 + 16 * k, 8), names, level + 1)
        return
    source.signed(address, b"SNOD")
    for k in range(source.number(address + 6, 2)):
        entry = source.at(address + 8 + 40 * k, 40)
        start, target = int.from_bytes(entry[:8], "little"), int.from_bytes(entry[8:16], "little")
        if int.from_bytes(entry[16:20], "little") == 2:
            raise ValueError("it has a soft link")
        end = names.find(b"\0", start)
        if end < 0:
            raise ValueError("a member's name is not there")
        source.limit.add(end - start, "its names")  # which may lie over one another
        yield names[start:end].decode(), target


def _link(body: memoryview) -> tuple[str, int]:
    """Name and target of a link (IV.A.2.g)."""
    if len(body) < 4 or body[0] != 1:
        raise ValueError("it has a link that is none")
    flags, at = body[1], 2
    if flags & 8:
        if body[at]:
            raise ValueError(f"it has {({1: 'a soft link', 64: 'a link to another file'}).get(body[at], 'a link')}")
        at += 1
    at += 8 * bool(flags & 4) + bool(flags & 16)
    width = 1 << (flags & 3)
    length = int.from_bytes(body[at : at + width], "little")
    at += width
    if at + length + 8 > len(body):
        raise ValueError("it has a link that ends within its name")
    return bytes(body[at : at + length]).decode(), int.from_bytes(body[at + length : at + length + 8], "little")


class FractalHeap:
    """A heap of objects of any length (III.G): blocks whose sizes double from row to row of a table."""

    def __init__(self, source: Source, address: int):
        source.signed(address, b"FRHP")
        head = source.at(address, 142)
        self._source = source
        self._id_size, filters = int.from_bytes(head[5:7], "little"), int.from_bytes(head[7:9], "little")
        self._width = int.from_bytes(head[110:112], "little")
        self._start, self._largest = (int.from_bytes(head[k : k + 8], "little") for k in (112, 120))
        self._offset_size = -(-int.from_bytes(head[128:130], "little") // 8)
        self._root, self._rows = int.from_bytes(head[132:140], "little"), int.from_bytes(head[140:142], "little")
        powers = all(0 < n < 2**40 and not n & (n - 1) for n in (self._start, self._largest))
        if filters or not powers or not 0 < self._width < 1024 or not 0 < self._offset_size <= 8:
            raise ValueError("a group's heap is not as Keras's are")

    def object(self, identifier: memoryview) -> memoryview:
        """The object with this identifier."""
        end = 1 + self._offset_size
        if len(identifier) < self._id_size or identifier[0] >> 4:
            raise ValueError("a group's heap has objects apart from it")
        offset = int.from_bytes(identifier[1:end], "little")
        length = int.from_bytes(identifier[end : self._id_size], "little")
        block, within, size = self._block(offset)
        if within + length > size:
            raise ValueError("an object of a heap is not in one block")
        return self._source.at(block + within, length)

    def _block(self, offset: int) -> tuple[int, int, int]:
        """Address of the direct block with a heap's byte in it, the byte's place in it, and the block's size."""
        address, rows, start = self._root, self._rows, 0
        if not rows:
            self._source.signed(address, b"FHDB")
            return address, offset, self._start
        for _ in range(LEVELS):
            self._source.signed(address, b"FHIB")
            entries = address + 13 + self._offset_size
            for row in range(min(rows, 64)):
                size = self._start << max(row - 1, 0)
                column, within = divmod(offset - start, size)
                if column < self._width:
                    break
                start += size * self._width
            else:
                raise ValueError("an object of a heap is behind its end")
            address = self._source.number(entries + 8 * (row * self._width + column), 8)
            if size <= self._largest:
                self._source.signed(address, b"FHDB")
                return address, within, size
            start += column * size
            rows = size.bit_length() - (self._start * self._width).bit_length() + 1
        raise ValueError("a group's heap is too deep")


def _records(source: Source, address: int) -> Iterator[memoryview]:
    """All records of a B-tree of version 2 (III.A.2)."""
    source.signed(address, b"BTHD")
    head = source.at(address, 26)
    node_size, size, depth = (int.from_bytes(head[a:b], "little") for a, b in ((6, 10), (10, 12), (12, 14)))
    if head[5] != 5 or size != 11 or not 64 <= node_size <= 2**20 or depth > LEVELS:
        raise ValueError("a group's tree is not of its members")
    # Widths of the counts beside a child's address: of its own records, and of all those below it.
    most = (node_size - 10) // size
    own, below, all_below = _width(most), [0], most
    for _ in range(1, depth):
        pointer = 8 + own + below[-1]
        most = (node_size - 10 - pointer) // (size + pointer)
        all_below = (most + 1) * all_below + most
        below.append(_width(all_below))
    root, count = int.from_bytes(head[16:24], "little"), int.from_bytes(head[24:26], "little")
    if root != UNDEFINED:
        yield from _records_below(source, root, count, depth, size, own, below)


def _records_below(
    source: Source, address: int, count: int, depth: int, size: int, own: int, below: list[int]
) -> Iterator[memoryview]:  # fmt: skip
    source.signed(address, b"BTIN" if depth else b"BTLF")
    at = address + 6
    yield from (source.at(at + size * k, size) for k in range(count))
    if depth:
        at += size * count
        width = 8 + own + below[depth - 1]
        for k in range(count + 1):
            child, inside = source.number(at + width * k, 8), source.number(at + width * k + 8, own)
            yield from _records_below(source, child, inside, depth - 1, size, own, below)


def _width(limit: int) -> int:
    """Bytes of a number up to a limit."""
    return max(limit.bit_length() - 1, 0) // 8 + 1
