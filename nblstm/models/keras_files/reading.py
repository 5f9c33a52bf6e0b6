"""Files and JSON of Keras's, read: which layout they have, and what is wrong with them in a sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nblstm.arguments import validate
from nblstm.files import content
from nblstm.models import snapshot
from nblstm.models.keras_files import hdf5, keras_archive, legacy_h5, restoring
from nblstm.process.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential

#: Ends of the names of Keras's files; those of weights in several parts are refused.
SUFFIXES = (".keras", ".h5", ".hdf5", ".weights.json")


def read_model(cls, path, compile: bool) -> Any:
    """The model in a file of Keras's."""
    data = _content_of(path)
    if data.startswith(b"PK"):
        return _understood(path, lambda: keras_archive.read_model(cls, data, compile))
    return _understood(path, lambda: legacy_h5.read_model(cls, hdf5.read(data), compile))


def load_weights(model: Sequential, path: str) -> None:
    """Set a built model's parameters from a file of Keras's, of weights or of a model."""
    data = _content_of(path)

    def values() -> list:
        if data.startswith(b"PK"):
            return keras_archive.weights(model, keras_archive.variables_of(data))
        root = hdf5.read(data)
        old = "layer_names" in root.attributes or "layer_names0" in root.attributes or "model_weights" in root.members
        return (legacy_h5 if old else keras_archive).weights(model, root)

    _understood(path, lambda: snapshot.set_checked(model, values()))


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
