"""Axes of matplotlib for what training draws; it is imported with the first of them, as it need not be there."""

from __future__ import annotations

from nblstm.arguments import validate


def axes_for(method: str, ax):
    """The Axes that a method is given, or one in a new figure of pyplot's for None.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If it is no Axes.
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(f"{method}() draws with matplotlib, which is not installed; pip install matplotlib") from None
    if ax is None:
        return pyplot.figure(layout="constrained").add_subplot()
    return validate.of_kind("ax", ax, pyplot.Axes, validate.AXES)
