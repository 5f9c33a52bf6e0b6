"""HDF5 files written, by the library: arrays at paths, and attributes of groups."""

from __future__ import annotations

import io
from typing import Any

import numpy as np


def library() -> Any:
    """The module h5py.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise ImportError(
            "files of Keras's are written by h5py, which is not installed; install nblstm's extra 'files', by "
            "pip install -e '.[files]' in its folder"
        ) from None
    return h5py


def hdf5_bytes(arrays: dict[str, np.ndarray], attributes: dict[str, dict[str, Any]]) -> bytes:
    """A file with these arrays and attributes, each by its path; groups are made for them."""
    paths = {*arrays, *attributes}
    texts = [text for values in attributes.values() for text in values.values() if isinstance(text, str)]
    for name in (*paths, *texts):
        if "\0" in name or (name in paths and "." in name.split("/")):
            raise ValueError(f"{name!r} cannot be a name in an HDF5 file; give the layer a name without dots and NUL")
    memory = io.BytesIO()
    with library().File(memory, "w") as file:
        for path, array in arrays.items():
            file.create_dataset(path, data=np.ascontiguousarray(array) if array.ndim else array)
        for path, values in attributes.items():
            group = file.require_group(path) if path else file
            for name, value in values.items():
                group.attrs[name] = value
    return memory.getvalue()
