"""Dropout of the recurrent connections, as a transformation of a cell."""

from __future__ import annotations

from functools import cache

from nblstm.cells.cell import Cell, cell
from nblstm.cells.declaration import check_recurs
from nblstm.cells.transformed import argument_names, with_signature
from nblstm.symbolic.unsupported import CellError


@cache
def recurrent_dropout(base: Cell, unmasked: tuple[str, ...] = ()) -> Cell:
    """The same cell, whose recurrent product sees the first state through a mask: one mask for all steps.

    ::

        a_t = W x_t + R (mask * h_{t-1}) + b
        s_t = base(a_t, s_{t-1})

    The equations themselves see ``h_{t-1}`` whole: of a GRU, ``z * h_{t-1}`` is not masked. The operand of a second
    product is masked too, as ``R (mask * r * h_{t-1})``. All gates share the mask (the tied form; Keras 3.15 draws one
    for each gate of LSTM and GRU).

    Parameters
    ----------
    base : Cell
        With states ``h c``, say.
    unmasked : tuple of str, default ()
        Gates that are called, whose operand is not masked.

    Returns
    -------
    Cell
        With states ``masked_h h c mask``, and the output of ``base``. The mask (num_layers D, B, H) is given to a
        network as the last of its initial states, say 0 with probability p and ``1 / (1 - p)`` elsewhere, and is
        returned as it came; ``masked_h`` is given as ``mask * h``. Where no states are given, the mask is 1, which
        leaves the cell as it is.

    Raises
    ------
    CellError
        If ``base`` is no cell, has no recurrent weights, or has a name that is needed here.

    References
    ----------
    Y. Gal and Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NIPS 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm import cells, nn
    >>> network = nn.Recurrent(cells.recurrent_dropout(cells.lstm), 3, 8)
    >>> rng, h, c = np.random.default_rng(0), np.zeros((1, 2, 8)), np.zeros((1, 2, 8))
    >>> mask = (rng.random(h.shape) >= 0.25) / 0.75
    >>> y, (_, h, c, _), tape = network.forward(np.zeros((5, 2, 3)), (mask * h, h, c, mask))
    """
    if not isinstance(base, Cell):
        raise CellError(f"recurrent_dropout got {base!r}; give a cell made by nblstm.cell, or one of nblstm.cells")
    check_recurs("recurrent_dropout", base)
    masked = f"masked_{base.states[0]}"
    if {masked, "mask"} & {*base.arguments}:
        raise CellError(f"recurrent_dropout adds the states {masked!r} and 'mask', but {base.name!r} uses such a name")
    base.check()  # an error in its equations is its own
    states = (masked, *base.states, "mask")
    arguments = (*argument_names(base), *states, *base.given, *base.vectors, *base.scalars)

    def masking(gate, mask):
        return lambda operand: gate(operand * mask)

    def equations(*scalars):
        given = dict(zip(arguments, scalars, strict=True))
        mask = given["mask"]
        given |= {name: masking(given[name], mask) for name in base.functions if name not in unmasked}
        new = base(*(given[name] for name in base.arguments))
        first, *others = new if isinstance(new, tuple | list) else (new,)
        return first * mask, first, *others, mask

    with_signature(equations, f"{base.name}_recurrent_dropout", base.__doc__, arguments)
    declared = {
        kind: " ".join(getattr(base, kind))
        for kind in ("gates", "split", "called", "input_only", "recurrent_only", "vectors", "scalars", "signals")
    }
    return cell(
        **declared, states=" ".join(states), output=base.output, matrix=base.matrix,
        initial=dict(zip(states, (base.initial[0], *base.initial, 1.0), strict=True)),
    )(equations)  # fmt: skip
