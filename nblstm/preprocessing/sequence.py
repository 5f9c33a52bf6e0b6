"""Sequences of Python lists as one array."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.arguments.missing import explain_missing_names
from nblstm.arguments.validate import DTypeLike

__all__ = ["pad_sequences"]


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


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
