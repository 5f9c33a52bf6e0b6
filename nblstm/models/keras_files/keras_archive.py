"""``.keras`` and ``.weights.h5``, the files of Keras 3: a zip of config and variables in HDF5, and the latter alone."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.files import atomic, content
from nblstm.layers import Layer
from nblstm.models.keras_files import configs_written, hdf5, optimizer_state, variables
from nblstm.models.keras_files.configs_read import ReadLayer
from nblstm.models.keras_files.hdf5_written import hdf5_bytes
from nblstm.models.keras_files.restoring import compiled, restored, version_of

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential

CONFIG, METADATA, VARIABLES = "config.json", "metadata.json", "model.weights.h5"

#: The Keras whose files these are like.
VERSION = "3.0.0"

#: How often larger than the archive its members may be, and the bytes up to which they may be so in any case.
EXPANSION, SMALL = 10, 4 << 20


def write_model(path: str, model: Sequential, include_optimizer: bool) -> None:
    """Write a model as Keras 3 does."""
    config = configs_written.model_config(model)
    if include_optimizer and (made := configs_written.compile_config(model)) is not None:
        config["compile_config"] = made
    found = model._parameters_lock.read(lambda: _arrays(model, include_optimizer))
    members = {
        METADATA: json.dumps({"keras_version": VERSION}).encode(),
        CONFIG: json.dumps(config).encode(),
        VARIABLES: hdf5_bytes(*found),
    }
    atomic.replace(path, lambda file: _write_members(file, members), _check)


def write_weights(path: str, model: Sequential) -> None:
    """Write a model's parameters as Keras 3's `save_weights` does."""
    data = hdf5_bytes(*model._parameters_lock.read(lambda: _arrays(model, False)))
    atomic.replace(path, lambda file: file.write(data), lambda file: hdf5.read(file.read()))


def _arrays(model: Sequential, with_optimizer: bool) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """All variables by path, and the attributes of groups."""
    arrays, groups = variables.written(model._layers)
    names = {group: {"name": name} for group, name in groups.items()}
    optimizer: Any = model.optimizer
    if with_optimizer and model.compiled and optimizer.modules:
        found = optimizer_state.variables(model)
        arrays |= {f"optimizer/vars/{k}": array for k, array in enumerate(found.values())}
        names["optimizer/vars"] = {"name": optimizer.name}
    return arrays, names | {"vars": {"name": model.name}}


def _write_members(file, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # dated 1980, so that equal models are equal files


def _check(file) -> None:
    hdf5.read(_members(file.read())[VARIABLES])


def _members(data: bytes) -> dict[str, bytes]:
    """The three members of a file, each checked against its checksum."""
    with content.open_zip(io.BytesIO(data), len(data)) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        if len(infos) != len(archive.infolist()):
            raise ValueError("it has two members of one name")
        for name in (CONFIG, VARIABLES):
            if name not in infos:
                others = [other for other in infos if other.endswith((".npz", ".weights.json"))]
                held = f"; its variables are in {others[0]!r}, which nblstm does not read" if others else ""
                raise ValueError(f"it has no {name}{held}")
        wanted = [infos[name] for name in (CONFIG, METADATA, VARIABLES) if name in infos]
        if sum(info.file_size for info in wanted) > max(EXPANSION * len(data), SMALL):
            raise ValueError(f"it expands to more than {EXPANSION} times its length")
        if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in wanted):
            raise ValueError("it is compressed in a way that Keras does not use")
        return {info.filename: archive.read(info) for info in wanted}


def read_model(cls, data: bytes, compile: bool) -> Any:
    """The model in a ``.keras`` file."""
    members = _members(data)
    config = content.parsed(members[CONFIG], len(data), f"its {CONFIG}")
    metadata = content.parsed(members.get(METADATA, b"{}"), len(data), f"its {METADATA}")
    if not isinstance(config, dict) or not isinstance(metadata, dict):
        raise ValueError(f"its {CONFIG} does not describe a model")
    version, root = version_of(metadata.get("keras_version", "3")), hdf5.read(members[VARIABLES])
    folders = variables.Folders(root)

    def parameters(read: ReadLayer, layers: list[Layer], names: list[list[str]]) -> list[dict[str, np.ndarray]]:
        folder = folders.next(read.class_name, any(names))
        cells: list[Any] = read.cells or [None] * len(layers)
        return [
            variables.parameters(root, folder, layer, those, cell)
            for layer, those, cell in zip(layers, names, cells, strict=False)
        ]

    model = restored(cls, config, version, parameters)
    made = config.get("compile_config")
    if compile and isinstance(made, dict):
        group = root.group("optimizer/vars")
        arrays = [group.array(str(k)) for k in range(len(group.members))]
        compiled(model, made, made.get("optimizer"), version, [], arrays)
    return model


def weights(model: Sequential, root: hdf5.Group, skip_mismatch: bool) -> list[dict[str, np.ndarray]]:
    """The parameters of a built model's layers, from the variables in a file of Keras 3's.

    With ``skip_mismatch`` there are none for a layer of which the file has others in number.
    """
    folders, found = variables.Folders(root), []
    for layer in model._layers:
        names = list(layer.described)
        folder = folders.next(type(layer).__name__, bool(names))
        try:
            found.append(variables.parameters(root, folder, layer, names, None))
        except ValueError:
            if not skip_mismatch:
                raise
            found.append({})
    return found


def has_variables(root: hdf5.Group) -> bool:
    """Tell whether an HDF5 file has the variables of layers as Keras 3 writes them."""
    return variables.LAYERS in root.members or variables.OLD_LAYERS in root.members


def variables_of(data: bytes) -> hdf5.Group:
    """The variables in a ``.keras`` file."""
    return hdf5.read(_members(data)[VARIABLES])
