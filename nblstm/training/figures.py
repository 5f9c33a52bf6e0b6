"""Axes of matplotlib for what training draws; it is imported with the first of them, as it need not be there."""

from __future__ import annotations


def new_axes(method: str):
    """Axes in a new figure of pyplot's, for a method.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(f"{method}() draws with matplotlib, which is not installed; pip install matplotlib") from None
    return pyplot.figure(layout="constrained").add_subplot()
