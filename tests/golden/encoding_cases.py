"""Calls of `to_categorical` and `pad_sequences` by name: positional and named arguments, for Keras and nblstm alike."""

import numpy as np

_RAGGED = [[1, 2, 3, 4, 5], [6], [], [7, 8, 9]]
_STEPS = [[[1.5, 2.5], [3.5, 4.5], [5.5, 6.5]], [[7.5, 8.5]]]

CASES = {
    "to_categorical": {
        "a list": (([0, 2, 1, 2],), {}),
        "more classes": (([0, 2, 1],), {"num_classes": 5}),
        "a column": ((np.array([[1], [0], [3]]),), {}),
        "steps": ((np.array([[1, 0, 2], [2, 2, 0]]), 4), {}),
        "floats": ((np.array([0.0, 3.0, 1.0], np.float32),), {}),
        "one": ((2,), {}),
        "none": (([],), {"num_classes": 3}),
    },
    "pad_sequences": {
        "defaults": ((_RAGGED,), {}),
        "maxlen": ((_RAGGED,), {"maxlen": 3}),
        "longer": ((_RAGGED, 7), {}),
        "post": ((_RAGGED,), {"maxlen": 4, "padding": "post", "truncating": "post", "value": -1}),
        "pre, post": ((_RAGGED,), {"maxlen": 2, "padding": "post", "truncating": "pre"}),
        "floats": (([[0.1, 0.2], [0.3]],), {"dtype": "float32", "value": 0.5}),
        "floats cut": (([[1.9, -2.9], [3.1]],), {}),
        "features": ((_STEPS,), {"dtype": "float64", "maxlen": 2}),
        "arrays": (([np.arange(4), np.arange(2)],), {"padding": "post"}),
    },
}
