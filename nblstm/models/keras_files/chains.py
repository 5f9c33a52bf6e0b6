"""Functional models that are a chain of layers, as the layers of a Sequential."""

from __future__ import annotations

from typing import Any

#: Operations that Keras 3 writes into a graph where a layer makes a mask: they are that layer's, and no layers.
OF_MASKS = ("NotEqual", "Any")

BRANCHES = "it is a functional graph with branches, of which nblstm has none; only a chain of layers can be read"


def chain(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a functional model's config, from the input to the output.

    Raises
    ------
    ValueError
        If the model is no chain: it has several inputs or outputs, or a layer is used twice, or by two others.
    """
    layers = {str(record.get("name", record["config"].get("name"))): record for record in config["layers"]}
    masks = {name for name, record in layers.items() if record["class_name"] in OF_MASKS}
    start, end = _one(config.get("input_layers")), _one(config.get("output_layers"))
    behind: dict[str, str] = {}
    for name, record in layers.items():
        if name in masks:
            continue
        nodes = record.get("inbound_nodes", [])
        before = [source for node in nodes for source in _sources(node, masks)]
        if len(nodes) > 1 or len(before) != (name != start) or any(source in behind for source in before):
            raise ValueError(BRANCHES)
        behind |= dict.fromkeys(before, name)
    found, at = [layers[start]], start
    while at != end and at in behind and len(found) < len(layers):
        at = behind[at]
        found.append(layers[at])
    if at != end or len(found) != len(layers) - len(masks):
        raise ValueError(BRANCHES)
    return found


def _one(places) -> str:
    """The name in ``["name", 0, 0]``, or in a list of one of these."""
    while isinstance(places, list) and places and isinstance(places[0], list):
        if len(places) != 1:
            raise ValueError(BRANCHES)
        places = places[0]
    if not (isinstance(places, list) and len(places) == 3 and isinstance(places[0], str) and places[1:] == [0, 0]):
        raise ValueError(BRANCHES)
    return places[0]


def _sources(node, masks: set[str]) -> list[str]:
    """Names of the layers whose outputs a node takes, but for masks."""
    if isinstance(node, dict):  # of Keras 3
        found = _histories(node.get("args"))
        for key, value in (node.get("kwargs") or {}).items():
            taken = _histories(value)
            if key == "mask" and set(taken) <= masks:
                continue
            if taken or (value not in (None, False) and key != "training"):
                raise ValueError(BRANCHES)
        return found
    parts: list[Any] = node if isinstance(node, list) else [None]
    if len(parts) == 4 and isinstance(parts[0], str):
        parts = [parts]
    for part in parts:
        if not (isinstance(part, list) and len(part) in (3, 4) and isinstance(part[0], str) and part[1:3] == [0, 0]):
            raise ValueError(BRANCHES)
        if any(value not in (None, False) for value in (part[3] if len(part) == 4 else {}).values()):
            raise ValueError(BRANCHES)
    return [part[0] for part in parts]


def _histories(value) -> list[str]:
    """Names of the layers whose outputs stand somewhere in a value."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            place = value["config"]["keras_history"]
            return [_one(place)]
        return [name for part in value.values() for name in _histories(part)]
    return [name for part in value for name in _histories(part)] if isinstance(value, list) else []
