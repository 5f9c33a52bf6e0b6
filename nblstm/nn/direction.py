"""The direction in which a network is differentiated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from nblstm.arguments import validate


class Direction(NamedTuple):
    """The direction of a derivative: how fast each thing changes that the outputs depend on, None being not at all.

    Each array has the shape of what it belongs to.

    Parameters
    ----------
    params : dict of str to array_like, optional
        By the names of `state_dict`; parameters that are not among them stay as they are.
    x : array_like, optional
    state : tuple of array_like, optional
        Of the initial states; added to what ``params`` has for learned ones, where the call is given no ``state``.
    signals : dict of str to array_like, optional

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm import nn
    >>> direction = nn.Direction(params={"weight_hh_l0": np.ones((12, 4))}, x=np.ones((5, 2, 3)))
    """

    params: Any = None
    x: Any = None
    state: Any = None
    signals: Any = None


def checked_direction(direction) -> Direction:
    """The direction that a user gave.

    Raises
    ------
    TypeError
        If it is none.
    """
    if not isinstance(direction, Direction):
        raise TypeError(f"direction is {type(direction).__name__}; give nn.Direction(params={{...}}, x=...)")
    return direction


def checked_names(what: str, given, names: Collection[str]) -> Mapping[str, Any]:
    """Arrays by name as a user gave them for some of ``names``.

    Raises
    ------
    TypeError, ValueError
        If it is no dict, or has other names.
    """
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} is {type(given).__name__}; give a dict of arrays for some of {', '.join(names)}")
    for name in given:
        if name not in names:
            raise ValueError(f"{what} has {validate.unknown(name, names)}")
    return given
