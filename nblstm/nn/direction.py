"""The direction in which a network is differentiated."""

from __future__ import annotations

from typing import Any, NamedTuple


class Direction(NamedTuple):
    """A direction in which is differentiated: the tangents of all that outputs depend on; None is 0.

    Attributes
    ----------
    params : dict of str to array_like
    x : array_like
    state : tuple of array_like
    signals : dict of str to array_like
    """

    params: Any = None
    x: Any = None
    state: Any = None
    signals: Any = None
