"""Checks of what users pass in: one sentence with what came, what was needed and the fix, before any work."""

from __future__ import annotations

import math
import numbers
import os
import sys
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

DTYPES = ("float32", "float64")

#: What to do about sequences of several lengths.
PAD = "pad the sequences to one length, and tell it by lengths= or a Masking layer"
#: One of them, by name or as NumPy has it; what checks it is `dtype_name`.
DTypeLike: TypeAlias = str | type[np.generic] | np.dtype | None


def whole_number(name: str, value, least: int = 0, fix: str | None = None) -> int:
    """``value`` as an int of ``least`` or more; ``fix`` says what else may be given."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if whole and value >= least:
        return int(value)
    fix = fix or f"give a whole number, {least} or more"
    if not whole:
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; {fix}")
    raise ValueError(f"{name} is {value}; {fix}")


def positive_integer(name: str, value, fix: str | None = None) -> int:
    """``value`` as an int of 1 or more."""
    return whole_number(name, value, 1, fix)


def number(
    name: str, value, low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False
) -> float:
    """``value`` as a finite float from ``low`` to ``high``, both allowed unless ``above`` or ``below`` exclude them."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    inside = real and math.isfinite(value) and low <= value <= high
    if inside and not (above and value == low) and not (below and value == high):
        return float(value)
    needed = f"a number above {low:g}" if above else f"a number, {low:g} or more"
    if low == -math.inf:
        needed = "a finite number"
    if high != math.inf:
        needed += f" and {'below' if below else 'at most'} {high:g}"
    if not real:
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; give {needed}")
    raise ValueError(f"{name} is {value}; give {needed}")


def probability(name: str, value) -> float:
    """``value`` as a float in [0, 1)."""
    return number(name, value, 0, 1, below=True)


def only(name: str, value, supported):
    """``supported``: the default of an option of Keras's that nblstm lacks, which is refused otherwise."""
    if value is not supported and value != supported:
        raise ValueError(f"{name} is {value!r}, which nblstm does not support; leave it at {supported!r}")
    return supported


def channels_last(data_format) -> str:
    """Keras's ``data_format``, of which there is one."""
    return only("data_format", data_format or "channels_last", "channels_last")


def without_cudnn(value) -> bool | str:
    """Keras's ``use_cudnn``, where "auto" and False both mean what there is."""
    if value is not False and value != "auto":
        raise ValueError(f"use_cudnn is {value!r}, and nblstm does not use cuDNN; leave it at 'auto'")
    return value


def of_kind(name: str, value, kind, fix: str):
    """``value``, an object of this class, or of one of these."""
    if not isinstance(value, kind):
        shown = f"{value!r} of type " if isinstance(value, str | numbers.Number | None) else ""
        raise TypeError(f"{name} is {shown}{type(value).__name__}; give {fix}")
    return value


#: An Axes of matplotlib's to draw in.
AXES = "an Axes of matplotlib's, such as pyplot.subplots()[1], or None for a new figure"


def names_among(name: str, value, known: Iterable[str]) -> list[str]:
    """Names as a string with spaces between them, or as strings; all for None."""
    known = list(known)
    if value is None:
        return known
    given = value.split() if isinstance(value, str) else list(value) if isinstance(value, Iterable) else None
    if given is None:
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; give some of {', '.join(known)}")
    for own in given:
        if own not in known:
            raise ValueError(f"{name} has {unknown(own, known)}")
    if not given:
        raise ValueError(f"{name} is empty; give some of {', '.join(known)}")
    return given


def flag(name: str, value) -> bool:
    """``value`` as a bool; 0 and 1 are taken for one."""
    if not isinstance(value, bool | np.bool_ | numbers.Integral) or value not in (0, 1):
        raise TypeError(f"{name} is {value!r}; give True or False")
    return bool(value)


def unknown(
    name, names: Iterable[str], shown: Iterable[str] | None = None, once: dict[str, str] | None = None
) -> str:  # fmt: skip
    """Describe a name that is none of ``names``: the name, the nearest one that is, and all; to follow "unknown".

    Listed are those ``shown``; ``once`` has names that others have or had, and the names that these are here.
    """
    import difflib  # 2 ms, which only an error needs

    names = list(names)
    shown = names if shown is None else list(shown)
    for known in (shown, names):  # what is listed is what people write
        lower = {each.lower(): each for each in reversed(known)} | (once or {})
        if near := difflib.get_close_matches(str(name).lower(), lower, n=1):
            return f"{name!r} (did you mean {lower[near[0]]!r}?); give one of {', '.join(shown)}"
    return f"{name!r}; give one of {', '.join(shown)}"


def different(shapes: Iterable[tuple[int, ...]]) -> str:
    """The different ones among shapes, in words: the first two, and how many others there are."""
    found = [str(tuple(shape)) for shape in dict.fromkeys(shapes)]
    return " and ".join(found) if len(found) <= 2 else f"{found[0]}, {found[1]} and {len(found) - 2} others"


def shapes(arrays) -> str:
    """The shapes of arrays in words: each once, and no more than a sentence can hold."""
    found = dict.fromkeys(tuple(array.shape) for array in arrays)
    return f"shape{'s' * (len(found) > 1)} {different(found)}"


def choice(name: str, value, choices: tuple[str, ...]) -> str:
    """``value``, which is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} is {unknown(value, choices)}")
    return value


def came(value, noun: str = "arrays") -> str:
    """Describe a value that is no list of the right length: the number of its entries, or its type."""
    return f"{len(value)} {noun}" if isinstance(value, list | tuple) else type(value).__name__


def dtype_name(value) -> str:
    """The name of a dtype that nblstm computes in."""
    try:
        name = np.dtype(value).name if value is not None else "None"  # which NumPy would read as float64
    except TypeError:
        name = repr(value)
    if name not in DTYPES:
        raise ValueError(f"dtype is {name}; nblstm computes in float32 or float64, so give one of these")
    return name


def plain_array(name: str, value, fix: str = PAD) -> np.ndarray:
    """``value`` as a plain array of whatever dtype it has: here all comes in that users give as arrays.

    ``fix`` says what to give in the place of a ragged nest of lists.
    """
    if type(value) is np.ndarray:
        return value
    masked = _masked_entries(value)
    if masked:
        raise ValueError(
            f"{name} is a NumPy masked array with {masked} masked entries, below which there are numbers all the same; "
            "fill them, as by its filled(0); a Masking layer, lengths or sample_weight tell what data is to be left out"
        )
    try:
        return np.asarray(value)
    except TypeError as error:
        if not hasattr(value, "dtype"):
            raise
        raise TypeError(
            f"{name} has dtype {value.dtype}, and NumPy cannot read it ({error}); give an array of float32 in the "
            "memory of the CPU, as a tensor's float() and cpu() make it"
        ) from None
    except ValueError:
        if hasattr(value, "batch_sizes"):
            raise TypeError(
                f"{name} is a {type(value).__name__}; give the padded array and lengths=, which pad_packed_sequence of "
                "torch.nn.utils.rnn makes of it"
            ) from None
        if isinstance(value, list | tuple) and all(hasattr(part, "shape") for part in value):
            raise ValueError(f"{name} is a list of {len(value)} arrays of {shapes(value)}; {fix}") from None
        raise ValueError(f"{name} is a ragged nest of lists; {fix}") from None


def number_array(name: str, value, fix: str = PAD) -> np.ndarray:
    """``value`` as an array of real numbers, in their own dtype; otherwise as `plain_array`."""
    if type(value) is np.ndarray and value.dtype.kind in "fiub":
        return value
    array = plain_array(name, value, fix)
    if array.dtype.kind == "O" and hasattr(value, "iloc"):
        array = _numbers_of_a_table(name, value)
    elif array.dtype.kind == "O" and isinstance(value, list | tuple):
        array = _numbers_of_a_list(name, array)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} {_no_numbers(value, array)}")
    return array


def converted(name: str, array: np.ndarray, dtype: str | np.dtype) -> np.ndarray:
    """``array`` in the float dtype ``dtype``; what is too small for it becomes 0, what is too large is refused."""
    if array.dtype == dtype and array.dtype.isnative:
        return array
    try:
        with np.errstate(over="raise", under="ignore", invalid="ignore"):
            return array.astype(dtype)
    except FloatingPointError:
        largest = np.finfo(dtype).max
        place = np.argwhere((np.abs(array) > largest) & np.isfinite(array))[0]
        raise ValueError(
            f"{name} has {array[tuple(place)]:g} at {place.tolist()}, which is beyond {np.dtype(dtype).name}, whose "
            f"largest number is {largest:.3g}; give smaller numbers"
        ) from None


def initial_values(cell, dtype: str) -> None:
    """Refuse a cell of which an initial value is beyond the dtype of the network that computes it."""
    converted(f"initial of cell {cell.name!r}", np.array(cell.initial), dtype)


def real_array(name: str, value, dtype: str | np.dtype) -> np.ndarray:
    """``value`` as an array of ``dtype``, any layout; integers, bools and floats of another width are converted."""
    if type(value) is np.ndarray and value.dtype is dtype:  # what one layer gives the next
        return value
    return converted(name, number_array(name, value), dtype)


def _masked_entries(value) -> int:
    """The number of entries that NumPy's masked arrays have masked, in ``value`` itself or in lists."""
    if isinstance(value, np.ndarray):
        return int(np.count_nonzero(getattr(value, "mask", False)))
    if isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray | list | tuple):
        return sum(map(_masked_entries, value))
    return 0


def _numbers_of_a_table(name: str, table) -> np.ndarray:
    """The numbers of a pandas object whose columns are of several dtypes, which NumPy takes as objects."""
    frame = table.to_frame() if hasattr(table, "to_frame") else table  # a Series, or a DataFrame
    for column, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if dtype.kind not in "fiub":
            raise TypeError(f"{name} has the column {column!r} of dtype {dtype}; leave it out, or make it numbers")
    return table.to_numpy("float64", na_value=np.nan)


def _numbers_of_a_list(name: str, array: np.ndarray) -> np.ndarray:
    """The numbers of a list of which NumPy makes objects, such as integers beyond int64; if it has others, as it is."""
    if not all(isinstance(entry, numbers.Real) for entry in array.flat):
        return array
    try:
        return array.astype("float64")
    except OverflowError:
        place = next(place for place, entry in np.ndenumerate(array) if abs(entry) > sys.float_info.max)
        raise ValueError(f"{name} has a number at {list(place)} that is beyond float64; give smaller numbers") from None


def _no_numbers(value, array: np.ndarray) -> str:
    """Describe an array that has no numbers, and the fix, to follow its name."""
    if hasattr(value, "toarray"):
        return f"is a sparse {type(value).__name__}; give the array that its toarray() makes"
    if array.ndim == 0:
        return f"is {'None' if value is None else type(value).__name__}; give an array of real numbers"
    if array.dtype.kind == "O":
        for place, entry in np.ndenumerate(array):
            if not isinstance(entry, numbers.Real | np.bool_):
                return f"has dtype object, and {type(entry).__name__} at {list(place)}; give real numbers"
        return "has dtype object, though its entries are numbers; give real numbers, by its astype(float)"
    return f"has dtype {array.dtype}; give real numbers"


def shaped(name: str, array: np.ndarray, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """``array`` if it has ``shape``; ``meaning`` names the dimensions."""
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; it needs shape {shape}, which is {meaning}")
    return array


def lengths_array(lengths, B: int, T: int) -> np.ndarray | None:
    """Sequence lengths as int64 (B,), or None."""
    if lengths is None:
        return None
    array = np.atleast_1d(plain_array("lengths", lengths, f"give {B} integers from 0 to {T}"))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"lengths contains {array[~np.isfinite(array)][0]}; give whole numbers from 0 to {T}")
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool((array == np.floor(array)).all()))
    if not whole:
        raise TypeError(f"lengths has dtype {array.dtype} and no whole numbers; give integers from 0 to {T}")
    if np.ndim(lengths) == 0 and B != 1:
        raise ValueError(f"lengths is {lengths}; the batch has {B} sequences, so give a length for each")
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


def source_path(name: str, value) -> str:
    """``value`` as the path of a file that is there."""
    text = path(name, value)
    if os.path.isdir(text):
        raise IsADirectoryError(f"{name} is {text!r}, which is a folder; give the path of a file in it")
    if not os.path.exists(text):
        raise FileNotFoundError(f"{name} is {text!r} and there is no such file; give the path of one that was saved")
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
