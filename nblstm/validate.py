"""Checks of what users pass in: one sentence with what came, what was needed and the fix, before any work."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

DTYPES = ("float32", "float64")

#: One of them, by name or as NumPy has it; what checks it is `dtype_name`.
DTypeLike: TypeAlias = str | type[np.generic] | np.dtype | None


def positive_integer(name: str, value) -> int:
    """``value`` as an int of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; give a whole number, 1 or more")
    if value < 1:
        raise ValueError(f"{name} is {value}; give a whole number, 1 or more")
    return int(value)


def whole_number(name: str, value) -> int:
    """``value`` as an int of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; give a whole number, 0 or more")
    if value < 0:
        raise ValueError(f"{name} is {value}; give a whole number, 0 or more")
    return int(value)


def probability(name: str, value) -> float:
    """``value`` as a float in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; give a number, 0 or more and below 1")
    if not 0 <= float(value) < 1:
        raise ValueError(f"{name} is {value}; give a number, 0 or more and below 1")
    return float(value)


def flag(name: str, value) -> bool:
    """``value`` as a bool; 0 and 1 are taken for one."""
    if not isinstance(value, bool | np.bool_ | numbers.Integral) or value not in (0, 1):
        raise TypeError(f"{name} is {value!r}; give True or False")
    return bool(value)


def unknown(name, names: Iterable[str], shown: Iterable[str] | None = None) -> str:
    """What to say of a name that is none of ``names``, to follow what it names: the nearest one, and all.

    Parameters
    ----------
    name : str
    names : iterable of str
        All that are known.
    shown : iterable of str, optional
        Those to list, if not all.
    """
    import difflib  # 2 ms, which only an error needs

    names = list(names)
    lower = {known.lower(): known for known in reversed(names)}
    near = difflib.get_close_matches(str(name).lower(), lower, n=1)
    meant = f" (did you mean {lower[near[0]]!r}?)" if near else ""
    return f"{name!r}{meant}; give one of {', '.join(names if shown is None else shown)}"


def dtype_name(value) -> str:
    """The name of a dtype that nblstm computes in."""
    try:
        name = np.dtype(value).name if value is not None else "None"  # which NumPy would read as float64
    except TypeError:
        name = repr(value)
    if name not in DTYPES:
        raise ValueError(f"dtype is {name}; nblstm computes in float32 or float64, so give one of these")
    return name


def real_array(name: str, value, dtype: str | np.dtype) -> np.ndarray:
    """``value`` as an array of ``dtype``, any layout; integers, bools and floats of another width are converted."""
    if type(value) is np.ndarray and value.dtype is dtype:  # what one layer gives the next
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} is a ragged nest of lists; give one padded array of numbers, and lengths=") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}; give real numbers, such as an array of {dtype}")
    if array.dtype != dtype or not array.dtype.isnative:
        array = array.astype(dtype)
    return array


def shaped(name: str, array: np.ndarray, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """``array`` if it has ``shape``; ``meaning`` names the dimensions."""
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; it needs shape {shape}, which is {meaning}")
    return array


def lengths_array(lengths, B: int, T: int) -> np.ndarray | None:
    """Sequence lengths as int64 (B,), or None."""
    if lengths is None:
        return None
    try:
        array = np.atleast_1d(np.asarray(lengths))
    except ValueError:
        raise ValueError(f"lengths is a ragged nest of lists; give {B} integers from 0 to {T}") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"lengths contains {array[~np.isfinite(array)][0]}; give whole numbers from 0 to {T}")
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool((array == np.floor(array)).all()))
    if not whole:
        raise TypeError(f"lengths has dtype {array.dtype} and no whole numbers; give integers from 0 to {T}")
    if array.shape != (B,):
        raise ValueError(f"lengths has shape {array.shape}; the batch has {B} sequences, so give shape ({B},)")
    if B and not 0 <= array.min() <= array.max() <= T:
        first = array[(array < 0) | (array > T)][0]
        raise ValueError(f"lengths contains {int(first)}; x has {T} steps, so give numbers from 0 to {T}")
    return array.astype(np.int64)


def path(name: str, value) -> str:
    """``value`` as a path."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; give a path, such as 'model'")
    text = os.fspath(value)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"{name} is {text!r}; give a path, such as 'model'")
    return text


def target_path(name: str, value) -> str:
    """``value`` as the path of a file that can be written: its folder is there, and it is none itself."""
    text = path(name, value)
    folder = os.path.dirname(os.path.abspath(text))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{name} is {text!r} and there is no folder {folder!r}; make it first")
    if os.path.isdir(text):
        raise IsADirectoryError(f"{name} is {text!r}, which is a folder; give the path of a file in it")
    return text
