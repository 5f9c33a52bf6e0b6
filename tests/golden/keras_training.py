"""Reads keras_training.npz, which make_keras_training.py wrote: Keras's losses, metrics, schedules, optimizers."""

import json
from pathlib import Path

import numpy as np

with np.load(Path(__file__).with_name("keras_training.npz")) as _archive:
    _METADATA = json.loads(str(_archive["metadata"]))
    #: By path: the name of Keras's class, and its arguments.
    CASES = _METADATA["cases"]
    #: By path and name.
    ARRAYS = {}
    for _dtype, _names in _METADATA["order"].items():
        _start, _flat = 0, _archive[_dtype[1:]]
        for _name in _names:
            _shape = tuple(_METADATA["shapes"][_name])
            _stop = _start + int(np.prod(_shape, dtype=int))
            ARRAYS[_name] = _flat[_start:_stop].reshape(_shape)
            _start = _stop
ARRAYS |= {name: ARRAYS[first] for name, first in _METADATA["same"].items()}


def cases(part):
    """The paths of a part: losses, metrics, schedules or optimizers."""
    return [path for path in CASES if path.startswith(f"{part}/")]


def arrays(path):
    """The arrays of a case by name, None for those that it lacks."""
    found = {name.removeprefix(f"{path}/"): value for name, value in ARRAYS.items() if name.startswith(f"{path}/")}
    return {"sample_weight": None, "mask": None} | found
