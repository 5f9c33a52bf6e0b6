"""In which precision matrix products are computed: `set_precision`, and what a network asks for itself."""

from __future__ import annotations

#: What Keras's policies and torch call them, too.
NAMES = {"float32": "", "bfloat16": "bfloat16", "mixed_bfloat16": "bfloat16"}

_chosen = ""


def _checked(name, label: str) -> str:
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"{label} is {name!r}; the precisions are 'float32' and 'bfloat16'")
    return NAMES[name]


def set_precision(name: str) -> None:
    """Choose the precision of matrix products for networks and recurrent layers made from now on.

    Networks in float64 and those on a GPU keep their own.

    Parameters
    ----------
    name : {"float32", "bfloat16", "mixed_bfloat16"}
        ``"bfloat16"``: what is multiplied is rounded to bfloat16, of 8 bits where float32 has 24, and summed in
        float32; states, equations, gradients and parameters stay in float32. ``"mixed_bfloat16"`` is Keras's name.

    Raises
    ------
    ValueError
        If there is no such precision.

    Examples
    --------
    >>> import nblstm
    >>> nblstm.set_precision("bfloat16")
    >>> nblstm.nn.LSTM(3, 8).precision
    'bfloat16'
    >>> nblstm.set_precision("float32")
    """
    global _chosen
    _chosen = _checked(name, "set_precision()")


def precision_for(requested: str | None, dtype: str, device: str) -> str:
    """The precision of a network made with this ``precision`` argument."""
    if requested is None:
        return _chosen if dtype == "float32" and device == "cpu" and _chosen else dtype
    precision = _checked(requested, "precision")
    if precision and dtype != "float32":
        raise ValueError(f"precision is {requested!r} and dtype {dtype!r}; sums are in float32, so leave one out")
    if precision and device != "cpu":
        raise ValueError(f"precision is {requested!r} for networks on the CPU, and device is {device!r}; leave one out")
    if requested == "float32" and dtype != "float32":
        raise ValueError(f"precision is 'float32' and dtype {dtype!r}; give dtype='float32' for both")
    return precision or dtype
