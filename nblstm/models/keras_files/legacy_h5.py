"""``.h5``, the files of Keras 1 and 2, which Keras 3 reads and writes too: HDF5 with JSON in its attributes."""

from __future__ import annotations

import json
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.files import atomic, content
from nblstm.layers import Layer
from nblstm.models.keras_files import configs_written, hdf5, keras_archive, old_weights, optimizer_state
from nblstm.models.keras_files.configs_read import ReadLayer
from nblstm.models.keras_files.hdf5_written import hdf5_bytes
from nblstm.models.keras_files.keras_archive import VERSION
from nblstm.models.keras_files.restoring import compiled, restored, version_of

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential

#: The group of the optimizer's variables in Keras's files, and in ours. Keras 3 builds the optimizer of a file with the
#: first one for no parameters, its own files' too, so that `fit` fails; with ours it begins the optimizer anew.
OPTIMIZER, OWN_OPTIMIZER = "optimizer_weights", "optimizer_state"

#: Bytes of a list of names that fit into one attribute, in Keras too.
LIMIT = 64512


def write_model(path: str, model: Sequential, include_optimizer: bool) -> None:
    """Write a model as Keras 3 does under a name that ends in .h5."""
    described = configs_written.model_config(model)
    config = described["config"] | {"layers": [_plain(record) for record in described["config"]["layers"]]}
    root = {"model_config": json.dumps({"class_name": "Sequential", "config": config}), "keras_version": VERSION}
    made = configs_written.compile_config(model) if include_optimizer else None
    if made is not None:
        optimizer = _plain(made.pop("optimizer"))
        root["training_config"] = json.dumps(made | {"optimizer_config": optimizer})

    def arrays() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        found, attributes = _weights(model, "model_weights/")
        if made is not None and model.optimizer is not None and model.optimizer.modules:
            state = optimizer_state.variables(model)
            found |= {f"{OWN_OPTIMIZER}/{name}": array for name, array in state.items()}
            attributes[OWN_OPTIMIZER] = _names("weight_names", list(state))
        return found, attributes | {"": root | {"backend": "numpy"}}

    _write(path, model, arrays)


def write_weights(path: str, model: Sequential) -> None:
    """Write a model's parameters as Keras 2's `save_weights` did."""
    _write(path, model, lambda: _weights(model, ""))


def _write(path: str, model: Sequential, arrays) -> None:
    data = hdf5_bytes(*model._parameters_lock.read(arrays))
    atomic.replace(path, lambda file: file.write(data), lambda file: hdf5.read(file.read()))


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what Keras 3 has added, unless it is of a class of the user's own."""
    name = record["registered_name"] or record["class_name"]
    return {"class_name": name, "config": record["config"]}


def _weights(model: Sequential, folder: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Parameters by path, and the attributes that list them."""
    arrays: dict[str, np.ndarray] = {}
    attributes: dict[str, Any] = {
        folder: {"keras_version": VERSION, "backend": "numpy"}
        | _names("layer_names", [layer.name for layer in model._layers])
    }
    for layer in model._layers:
        values = layer.state_dict()
        arrays |= {f"{folder}{layer.name}/{name}": array for name, array in values.items()}
        attributes[folder + layer.name] = _names("weight_names", list(values))
    attributes[f"{folder}top_level_model_weights"] = _names("weight_names", [])
    return arrays, attributes


def _names(attribute: str, names: list[str]) -> dict[str, np.ndarray]:
    """A list of names as attributes: one, or where they are too long several, attribute0, attribute1, ..."""
    encoded = np.array([name.encode() for name in names], "S" if names else "S1")
    parts = -(-encoded.nbytes // LIMIT)
    if parts <= 1:
        return {attribute: encoded}
    return {f"{attribute}{k}": part for k, part in enumerate(np.array_split(encoded, parts + 1))}


def read_model(cls, root: hdf5.Group, compile: bool) -> Any:
    """The model in a ``.h5`` file."""
    if "model_config" not in root.attributes:
        if is_listed(root) or keras_archive.has_variables(root):
            raise ValueError("it has weights alone; make the model, and give its load_weights the file")
        raise ValueError("it has neither a model_config nor weights, so it is no file of Keras's")
    described = _json(root, "model_config")
    group = root.group("model_weights")
    version = version_of(root.attributes.get("keras_version", group.attributes.get("keras_version", "1")))
    found = iter(_lists(group).values())

    def parameters(read: ReadLayer, layers: list[Layer], names: list[list[str]]) -> list[dict[str, np.ndarray]]:
        needed = any(names)
        return _parameters(layers, names, next(found, []) if needed else [], version, _backend(root, group))

    model = restored(cls, described, version, parameters)
    if compile and "training_config" in root.attributes:
        made = _json(root, "training_config")
        state = root.group(OWN_OPTIMIZER if OWN_OPTIMIZER in root.members else OPTIMIZER)
        listed = _listed(state, "weight_names")
        arrays = [state.array(name) for name in listed]
        compiled(model, made, made.get("optimizer_config"), version, listed, arrays)
    return model


def is_listed(root: hdf5.Group) -> bool:
    """Tell whether a file has weights as Keras 1 and 2 write them, in lists, with a model or without."""
    return not root.attributes.keys().isdisjoint(("layer_names", "layer_names0")) or "model_weights" in root.members


def weights(
    model: Sequential, root: hdf5.Group, skip_mismatch: bool, by_name: bool
) -> list[dict[str, np.ndarray]]:  # fmt: skip
    """The parameters of a built model's layers, from a file of a model or of weights alone.

    With ``skip_mismatch`` there are none for a layer of which the file has others in number; with ``by_name`` a layer
    whose name the file has not keeps its own.
    """
    group = root.group("model_weights") if "model_weights" in root.members else root
    version = version_of(group.attributes.get("keras_version", "1"))
    named, backend, layers = _lists(group), _backend(root, group), [layer for layer in model._layers if layer.described]
    if by_name:
        return [
            _of_layer(layer, named[layer.name], version, backend, skip_mismatch)
            if layer.described and layer.name in named else layer.state_dict()
            for layer in model._layers
        ]  # fmt: skip
    found = list(named.values())
    counts = [len(layer.described) for layer in layers]
    together = [array for arrays in found for array in arrays]
    if len(found) != len(layers) and len(together) == sum(counts):  # an RNN of several cells is one layer in Keras
        ends = np.cumsum([0, *counts])
        found = [together[a:b] for a, b in pairwise(ends)]
    if len(found) != len(layers):
        raise ValueError(f"it has the weights of {len(found)} layers, and the model has {len(layers)} with weights")
    lists = iter(found)
    return [
        _of_layer(layer, next(lists) if layer.described else [], version, backend, skip_mismatch)
        for layer in model._layers
    ]


def _of_layer(
    layer: Layer, arrays: list[np.ndarray], version: int, backend: str, skip_mismatch: bool
) -> dict[str, np.ndarray]:  # fmt: skip
    """One layer's parameters; none, with ``skip_mismatch``, if the arrays are not as many."""
    try:
        return _parameters([layer], [list(layer.described)], arrays, version, backend)[0]
    except ValueError:
        if not skip_mismatch:
            raise
        return {}


def _parameters(
    layers: list[Layer], names: list[list[str]], arrays: list[np.ndarray], version: int, backend: str
) -> list[dict[str, np.ndarray]]:
    """The parameters of the layers that one of the file's is, from its list of weights."""
    if len(layers) > 1:
        starts = np.cumsum([0, *map(len, names)])
        parts = [arrays[a:b] for a, b in pairwise(starts)]
    else:
        parts = [old_weights.converted(layer, arrays, version, backend) for layer in layers]
    for layer, those, part in zip(layers, names, parts, strict=True):
        if len(those) != len(part):
            raise ValueError(
                f"layer {layer.name!r} has {len(part)} weights in it and needs {len(those)}: {', '.join(those)}"
            )
    return [dict(zip(those, part, strict=True)) for those, part in zip(names, parts, strict=True)]


def _lists(group: hdf5.Group) -> dict[str, list[np.ndarray]]:
    """The weights of each layer that has some, by its name."""
    found = {}
    for name in _listed(group, "layer_names"):
        layer = group.group(name)
        if listed := _listed(layer, "weight_names"):
            found[name] = [layer.array(path) for path in listed]
    return found


def _listed(group: hdf5.Group, attribute: str) -> list[str]:
    """Names that `_names` has written."""
    names = group.attributes.get(attribute)
    if names is None:
        parts: list[Any] = []
        for k in count():
            if f"{attribute}{k}" not in group.attributes:
                break
            parts += group.attributes[f"{attribute}{k}"]
        names = parts
    if not isinstance(names, list):
        names = list(np.ravel(names))
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"its {attribute} is no list of names")
    return names


def _json(group: hdf5.Group, attribute: str) -> dict[str, Any]:
    text = group.attributes[attribute]
    value = content.parsed(text.encode(), len(text), f"its {attribute}") if isinstance(text, str) else None
    if not isinstance(value, dict):
        raise ValueError(f"its {attribute} is no JSON of a dict")
    return value


def _backend(root: hdf5.Group, group: hdf5.Group) -> str:
    return str(root.attributes.get("backend", group.attributes.get("backend", "")))
