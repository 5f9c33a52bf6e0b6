"""Damage done to nblstm's files at random: bytes changed, values of config.json replaced, headers of arrays broken."""

import io
import json
import random
import zipfile

#: What a value is replaced by.
ODD = [
    None, True, False, 0, 1, -1, 3, 2**40, 10**30, 0.5, -0.0, float("nan"), float("inf"), "", "x", "adam", "Dense",
    "Custom>f", "0.npy", [], [1], [None, 2], [[]], {}, {"a": 1}, {"__array__": "0.npy"}, {"__array__": 3},
    {"class_name": "Dense", "config": {}}, {"class_name": "Zeros"}, {"class_name": 1, "config": []},
]  # fmt: skip


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


def _bytes(data, chance, head=False):
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5])):
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
    places = list(_places(config["content"])) or [(config, "content")]
    at, key = chance.choice(places)
    change = chance.random()
    if change < 0.75:
        at[key] = chance.choice(ODD)
    elif change < 0.9:
        del at[key]
    elif isinstance(at, dict):
        at[chance.choice(["x", "config", "__array__", "name"])] = chance.choice(ODD)
    else:
        at.append(chance.choice(ODD))


def _places(value):
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(part, dict | list):
            yield from _places(part)
