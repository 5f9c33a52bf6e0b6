"""Damage done to ONNX files at random: bytes changed, and fields of the graph replaced."""

import random

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from mutations import _bytes as damaged_bytes
from onnx import ModelProto

#: What numbers and texts are replaced by.
INTEGERS = [0, 1, -1, 2, 3, 7, 64, 10**4, 10**6, 2**31, 10**12, 2**62, -(2**63)]
TEXTS = ["", "x", "y", "Loop", "If", "Scan", "LSTM", "Expand", "Tile", "ConstantOfShape", "Range", "Pad", "Concat",
         "axis", "axes", "\n", "a" * 100]  # fmt: skip

RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1), FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}  # fmt: skip


def mutated(content, chance: random.Random):
    """The bytes of a file with one thing changed, or a few."""
    if chance.random() < 0.25:
        return damaged_bytes(content, chance)
    model = ModelProto.FromString(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        _field(model, chance)
    return model.SerializeToString()


def _field(message, chance, depth=0):
    """Change a field of a message, or of one that lies in it."""
    fields = message.ListFields()
    if not fields:
        return
    field, value = chance.choice(fields)
    repeated = not isinstance(value, Message | int | float | str | bytes)
    if field.message_type is not None:
        parts = list(value) if repeated else [value]
        change = chance.random()
        if not parts or (change < 0.05 and depth):
            message.ClearField(field.name)
        elif repeated and change < 0.15:
            place = chance.randrange(len(parts))
            if chance.random() < 0.5:
                del value[place]
            else:
                value.add().CopyFrom(chance.choice(parts))
        else:
            _field(chance.choice(parts), chance, depth + 1)
        return
    if repeated:
        if not len(value):
            return
        place, change = chance.randrange(len(value)), chance.random()
        if change < 0.7:
            value[place] = _other(field, value[place], value, chance)
        elif change < 0.85:
            del value[place]
        else:
            value.append(value[place])
        return
    setattr(message, field.name, _other(field, value, [], chance))


def _other(field, value, others, chance):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        other = chance.choice([*INTEGERS, value + 1, value - 1, *list(others)[:5]])
        if field.type == field.TYPE_ENUM:
            return chance.choice([v.number for v in field.enum_type.values])
        least, most = RANGES.get(field.type, (-(2**63), 2**63 - 1))
        return max(least, min(other, most))
    if isinstance(value, float):
        return chance.choice([0.0, -1.0, 1e30, float("nan"), float("inf"), value * 2])
    if isinstance(value, str):
        return chance.choice([*TEXTS, value + "0", *list(others)[:5]])
    return damaged_bytes(value, chance) if value else b"x"
