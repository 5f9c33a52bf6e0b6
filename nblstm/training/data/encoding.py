"""Labels and sequences of Python lists as the arrays that models take."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.arguments.validate import DTypeLike


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

    Raises
    ------
    TypeError, ValueError
        If ``x`` has something else than whole numbers from 0 to ``num_classes - 1``.
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

    Raises
    ------
    TypeError, ValueError
        If ``x`` is no array of numbers, or has no such dimension.
    """
    x = np.atleast_1d(validate.real_array("x", x, "float64"))
    norm = np.linalg.norm(x, order, axis, keepdims=True)
    return x / np.where(norm == 0, 1, norm)


def pad_sequences(
    sequences,
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> np.ndarray:
    """Sequences of different lengths as one array.

    Parameters
    ----------
    sequences : iterable of array_like, each (T, ...)
        Beyond the first dimension, all of one shape.
    maxlen : int, optional
        Length T of all; that of the longest if not given.
    dtype : str or dtype, default "int32"
        Numbers are cut to it as NumPy does: give a float's name for sequences of floats.
    padding : {"pre", "post"}
        Whether ``value`` comes before a short sequence or behind it.
    truncating : {"pre", "post"}
        Whether a long sequence loses its beginning or its end.
    value : float or str, default 0
        What fills the rest.

    Returns
    -------
    ndarray, shape (N, maxlen, ...)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """
    for name, given in (("padding", padding), ("truncating", truncating)):
        if given not in ("pre", "post"):
            raise ValueError(f"{name} is {given!r}; give 'pre' or 'post'")
    if isinstance(sequences, str) or not np.iterable(sequences):
        raise TypeError(f"sequences is {sequences!r}; give a list of sequences, such as [[1, 2], [3]]")
    rows = [_sequence(k, given) for k, given in enumerate(sequences)]
    if maxlen is None:
        T = max(map(len, rows), default=0)
    else:
        T = validate.positive_integer("maxlen", maxlen)
    shapes = [row.shape[1:] for row in rows if len(row)]
    if len(set(shapes)) > 1:
        raise ValueError(f"sequences have steps of shapes {validate.different(shapes)}; give steps of one shape")
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype is {dtype!r}; give a NumPy dtype, such as 'int32' or 'float32'") from None
    words = [value] if isinstance(value, str) else [row.flat[0] for row in rows if row.dtype.kind not in "fiubc"]
    if words and dtype.kind not in "OU":
        raise ValueError(f"there is {words[0]!r}, which is no number, and dtype is {dtype}; give dtype=object")
    padded = np.full((len(rows), T, *(shapes.pop() if shapes else ())), value, dtype)
    for own, row in zip(padded, rows, strict=True):
        row = row[:T] if truncating == "post" else row[max(len(row) - T, 0) :]
        if len(row):
            own[slice(None, len(row)) if padding == "post" else slice(T - len(row), None)] = row
    return padded


def _sequence(k: int, given) -> np.ndarray:
    row = validate.plain_array(f"sequence {k}", given, "give steps of one shape")
    if row.ndim == 0:
        raise ValueError(f"sequence {k} is {given!r}, which has no steps; give a list of sequences")
    return row
