"""Keras's utilities: they prepare data, begin anew, fix random numbers and name objects of the user's own."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.arguments.custom import custom_object_scope, get_custom_objects, register_keras_serializable
from nblstm.arguments.missing import explain_missing_names
from nblstm.arguments.seeds import set_random_seed
from nblstm.layers.base.names import clear_session
from nblstm.preprocessing.sequence import pad_sequences
from nblstm.training.batches import PyDataset
from nblstm.training.timeseries import timeseries_dataset_from_array

__all__ = [
    "PyDataset", "Sequence", "clear_session", "custom_object_scope", "get_custom_objects", "normalize", "pad_sequences",
    "register_keras_serializable", "set_random_seed", "timeseries_dataset_from_array", "to_categorical",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


#: Keras's older name.
Sequence = PyDataset


def to_categorical(x, num_classes: int | None = None) -> np.ndarray:
    """One-hot rows for class numbers.

    Parameters
    ----------
    x : array_like of int, shape (...) or (..., 1)
        Whole numbers, of any dtype.
    num_classes : int, optional
        The largest of ``x`` and 1 if not given.

    Returns
    -------
    ndarray of float64, shape (..., num_classes)
    """
    classes = validate.real_array("x", x, "float64")
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    if not classes.size and num_classes is None:
        raise ValueError("x is empty, which says nothing of the classes; give num_classes too")
    wrong = ~((classes >= 0) & (classes == np.floor(classes)) & np.isfinite(classes))
    if wrong.any():
        raise ValueError(f"x has {classes[wrong].flat[0]:g}; give class numbers, which are whole and 0 or more")
    count = int(classes.max()) + 1 if num_classes is None else validate.positive_integer("num_classes", num_classes)
    if classes.size and classes.max() >= count:
        raise ValueError(
            f"x has {classes.max():g} and num_classes is {count}; give class numbers from 0 to {count - 1}"
        )
    one_hot = np.zeros((*classes.shape, count))
    np.put_along_axis(one_hot, classes.astype(np.intp)[..., None], 1, axis=-1)
    return one_hot


def normalize(x, axis: int = -1, order: int = 2) -> np.ndarray:
    """Numbers divided by their norm over a dimension.

    Parameters
    ----------
    x : array_like
    axis : int, default -1
    order : int, default 2
        Of the norm.

    Returns
    -------
    ndarray of float64, in the shape of ``x``
        0 where the norm is 0.
    """
    x = np.atleast_1d(validate.real_array("x", x, "float64"))
    norm = np.linalg.norm(x, order, axis, keepdims=True)
    return x / np.where(norm == 0, 1, norm)
