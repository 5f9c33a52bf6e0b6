"""The direction in which a network is differentiated."""

from __future__ import annotations

from typing import Any, NamedTuple


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
