"""Files of Keras's by the ends of their names, and its JSON: read, with what is wrong in a sentence, and written."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nblstm.arguments import validate
from nblstm.files import content
from nblstm.models import snapshot
from nblstm.models.keras_files import configs_written, hdf5, hdf5_written, keras_archive, legacy_h5, restoring
from nblstm.process.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential


def write_model(path: str, suffix: str, model: Sequential, include_optimizer: bool) -> None:
    """Write a model as Keras does under a name with this end."""
    (keras_archive if suffix == ".keras" else legacy_h5).write_model(path, model, include_optimizer)


def write_weights(path: str, suffix: str, model: Sequential) -> None:
    """Write a model's parameters as Keras does under a name with this end."""
    (keras_archive if suffix == ".weights.h5" else legacy_h5).write_weights(path, model)


def need_writable(model: Sequential, weights_only: bool) -> None:
    """Raise what writing the model, or its weights, would; it need not be built."""
    hdf5_written.library()
    if not weights_only:
        configs_written.need_writable(model)


def read_model(cls, path, compile: bool) -> Any:
    """The model in a file of Keras's."""
    data = _content_of(path)
    if data.startswith(b"PK"):
        return _understood(path, lambda: keras_archive.read_model(cls, data, compile))
    return _understood(path, lambda: legacy_h5.read_model(cls, hdf5.read(data), compile))


def load_weights(model: Sequential, path: str, skip_mismatch: bool, by_name: bool) -> None:
    """Set a built model's parameters from a file of Keras's, of weights or of a model."""
    data = _content_of(path)

    def values() -> list:
        if data.startswith(b"PK"):
            return keras_archive.weights(model, keras_archive.variables_of(data), skip_mismatch)
        root = hdf5.read(data)
        if legacy_h5.is_listed(root):
            return legacy_h5.weights(model, root, skip_mismatch, by_name)
        if by_name:
            raise ValueError("it is of Keras 3's kind, which has no layers by name; leave by_name out")
        return keras_archive.weights(model, root, skip_mismatch)

    _understood(path, lambda: snapshot.set_checked(model, values(), skip_mismatch))


def from_json(cls, described: dict[str, Any]) -> Any:
    """The model that JSON of Keras's describes, with new parameters."""
    version = restoring.version_of(described.get("keras_version", "3" if "module" in described else "1"))
    model, _, shape = restoring.unbuilt(cls, described, version)
    if shape is not None:
        model.build(shape)
    return model


def _content_of(path) -> bytes:
    """The bytes of a file."""
    path = validate.source_path("filepath", path)
    if path.lower().endswith(".weights.json"):
        raise ValueError(f"{path!r} is the table of weights in several files; save them with Keras in one, .weights.h5")
    return uninterrupted(_bytes, path)


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _understood(path, make: Callable[[], Any]):
    """Return ``make()``; a file's content may make anything fail, and each failure is blamed on the file."""
    try:
        return make()
    except content.FAULTS as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {content.reason(error, 'Keras')}") from error
