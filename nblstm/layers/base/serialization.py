"""Layers as plain values and back, and what copies and pickles of them are made of."""

from __future__ import annotations

from typing import Any

from nblstm.arguments import custom
from nblstm.layers.base.layer import LAYERS, Layer


def serialize(layer: Layer) -> dict[str, Any]:
    """The layer's class and config, as plain values; its parameters are not in it."""
    return layer.record()


def deserialize(record: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Layer:
    """The layer that `serialize` gave this for, not built.

    Parameters
    ----------
    record : dict
    custom_objects : dict of str to object, optional
        What names in it stand for, before those that are registered.

    Raises
    ------
    TypeError, ValueError
        If it names no registered layer, or the config does not fit.
    """
    with custom.custom_object_scope(custom_objects):
        layer = LAYERS.make(record)
    if not isinstance(layer, Layer):
        raise TypeError(f"{record!r} is no saved layer; give what serialize() gave")
    return layer
