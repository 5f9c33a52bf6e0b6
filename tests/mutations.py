"""Damage done to files at random: bytes changed, values of JSON replaced, headers of arrays and pickles broken."""

import io
import json
import os
import pickletools
import random
import tracemalloc
import zipfile

#: How often tests damage each kind of file. NBLSTM_MUTATIONS=20000 is for releases.
COUNT = int(os.environ.get("NBLSTM_MUTATIONS", "250"))

#: What a value is replaced by.
ODD = [
    None, True, False, 0, 1, -1, 3, 2**40, 10**30, 0.5, -0.0, float("nan"), float("inf"), "", "x", "adam", "Dense",
    "Custom>f", "0.npy", [], [1], [None, 2], [[]], {}, {"a": 1}, {"__array__": "0.npy"}, {"__array__": 3},
    {"class_name": "Dense", "config": {}}, {"class_name": "Zeros"}, {"class_name": 1, "config": []},
]  # fmt: skip


def peak_of(call):
    """A call's result, and the most bytes that Python had for it at a time."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:  # a test that fails leaves nothing behind that others would measure
        tracemalloc.stop()


def members_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def mutated(content, chance: random.Random):
    """The bytes of a file with one thing changed, or a few."""
    kind = chance.random()
    if kind < 0.2:
        return _bytes(content, chance)
    members = members_of(content)
    if kind < 0.75:
        config = json.loads(members[0][1])
        for _ in range(chance.choice([1, 1, 1, 2])):
            _value(config, chance)
        members[0] = (members[0][0], json.dumps(config).encode())
    else:
        k = chance.randrange(len(members))
        members[k] = (members[k][0], _bytes(members[k][1], chance, head=chance.random() < 0.8))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def mutated_zip(content, chance: random.Random):
    """The bytes of a zip with a few bytes of the archive changed, or of one member with its checksum made anew."""
    if chance.random() < 0.3:
        return _bytes(content, chance)
    members = members_of(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        comment = archive.comment
    k = chance.randrange(len(members))
    pickles = [k for k, (name, _) in enumerate(members) if name.endswith(".pkl")]
    k = pickles[0] if pickles and chance.random() < 0.8 else k
    change = _pickle if members[k][0].endswith(".pkl") else _bytes
    members[k] = (members[k][0], change(members[k][1], chance))
    if chance.random() < 0.05:
        members.append((chance.choice(members)[0] + "x", b"x"))
    if comment and chance.random() < 0.3:
        comment = _json(comment, chance)
    file = io.BytesIO()
    compression = chance.choice([zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.comment = comment[:65535]
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def mutated_older(content, chance: random.Random):
    """The bytes of one of torch's older files with a few changed, also as instructions of a pickle."""
    return (_pickle if chance.random() < 0.7 else _bytes)(content, chance)


def mutated_safetensors(content, chance: random.Random):
    """The bytes of a file of safetensors with some changed, or values of its header."""
    if chance.random() < 0.3:
        return _bytes(content, chance, head=chance.random() < 0.5)
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length]
    header = _json(header, chance) if chance.random() < 0.8 else _bytes(header, chance)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _json(text, chance):
    """A JSON text with a value replaced; texts that are JSON again may have one of theirs replaced."""
    value = json.loads(text)
    for place, key in list(places(value)):
        if isinstance(place[key], str) and place[key].startswith("{") and chance.random() < 0.5:
            place[key] = _json(place[key], chance).decode()
            return json.dumps(value).encode()
    _value({"content": value}, chance)
    return json.dumps(value).encode()


#: Instructions of pickles, and numbers with which they would do harm.
_PICKLED = [op.code.encode("latin1") for op in pickletools.opcodes] + [
    b"cos\nsystem\n", b"c__builtin__\neval\n", b"c__builtin__\ngetattr\n", b"X\xff\xff\xff\x7f", b"J\xff\xff\xff\xff",
    b"B\xff\xff\xff\xff", b"r\xff\xff\xff\xff", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"\x85" * 300, b"]" * 300,
    b"\x8e" + b"\xff" * 7 + b"\x7f", b"K\x00", b"K\x01", b"K\xff", b"h\x00", b"h\x01", b"h\x05", b"R", b"b", b"Q", b"t",
]  # fmt: skip


def _pickle(data, chance):
    """A pickle with instructions replaced, put in or taken out."""
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4])):
        at = chance.randrange(len(data))
        instruction = chance.choice(_PICKLED)
        data[at : at + chance.choice([0, 1, 1, len(instruction)])] = instruction
    return bytes(data) if chance.random() < 0.8 else _bytes(data, chance)


def _bytes(data, chance, head=False):
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5]) if data else 0):
        at = chance.randrange(min(len(data), 128) if head else len(data))
        change = chance.choice(["set", "flip", "insert", "delete", "cut"])
        if change == "set":
            data[at] = chance.randrange(256)
        elif change == "flip":
            data[at] ^= 1 << chance.randrange(8)
        elif change == "insert":
            data[at:at] = bytes(chance.choice(b"()[]{}'\",: \\\n0aL") for _ in range(chance.randrange(1, 4)))
        elif change == "delete":
            del data[at : at + chance.randrange(1, 9)]
        elif chance.random() < 0.2:
            del data[at:]
        if not data:
            break
    return bytes(data)


def _value(config, chance):
    """Replace, take away or add a value, anywhere in the content."""
    change_value(list(places(config["content"])) or [(config, "content")], chance, ["x", "config", "__array__", "name"])


def change_value(found, chance, names):
    """Replace or take away a value at one of these places, or add one beside it, under one of these names."""
    at, key = chance.choice(found)
    change = chance.random()
    if change < 0.75:
        at[key] = chance.choice(ODD)
    elif change < 0.9:
        del at[key]
    elif isinstance(at, dict):
        at[chance.choice(names)] = chance.choice(ODD)
    else:
        at.append(chance.choice(ODD))


def places(value):
    """Each dict or list in a value, with each key of it."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(part, dict | list):
            yield from places(part)
