"""Noise in the states and the recurrence, as transformations of a cell; in inference its mean is in its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from nblstm import noise
from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.cells.declaration import check_recurs
from nblstm.cells.recurrent_dropout import is_dropped, recurrent_dropout, undropped
from nblstm.cells.transformed import argument_names, as_declared, with_signature
from nblstm.symbolic.unsupported import CellError


@cache
def zoneout(base: Cell, *p: float) -> Cell:
    """The same cell, whose units keep a state with a probability (Krueger et al. 2017: zoneout).

    ::

        h_t = k h_{t-1} + (1 - k) base_h(...),   k = 1 with probability p_h, else 0; p_h itself in inference

    likewise for the other states; ``k`` is drawn for each step, sequence, unit and state.

    Parameters
    ----------
    base : Cell
    *p : float
        For each state in order, but those that `recurrent_dropout` has added; 0 for those that are not given.

    Raises
    ------
    CellError
        If there are more numbers than states.

    Examples
    --------
    >>> from nblstm import cells, nn
    >>> lstm = nn.Recurrent(cells.zoneout(cells.lstm, 0.1, 0.5), 3, 8)
    """
    _check("zoneout", base)
    if is_dropped(base):  # the states that units keep are the whole ones
        return recurrent_dropout(zoneout(undropped(base), *p))
    if len(p) > len(base.states):
        raise CellError(f"zoneout got {len(p)} probabilities for the states {' '.join(base.states)}; give one for each")
    rates = [validate.number(f"p_{name}", rate, 0, 1) for name, rate in zip(base.states, p, strict=False)]

    def equations(*scalars):
        given = dict(zip(base.arguments, scalars, strict=True))
        new = list(_called(base, given))
        for k, (name, rate) in enumerate(zip(base.states, rates, strict=False)):
            keep = noise.bernoulli(rate)
            new[k] = keep * given[name] + (1 - keep) * new[k]
        return tuple(new)

    return _like(base, "zoneout", equations, base.arguments, {})


@cache
def variational(base: Cell, p: float, per_gate: bool = False) -> Cell:
    """The same cell, whose recurrent products see the first state through a mask, one for all steps of a sequence.

    ::

        a_t = W x_t + R (mask * h_{t-1}) + b,    mask = 0 with probability p, else 1 / (1 - p)

    (Gal & Ghahramani 2016). The operands of called gates are masked too. `nn.Recurrent` has the same with one mask as
    ``recurrent_dropout=``, drawn by its generator; this one draws in the kernel.

    Parameters
    ----------
    base : Cell
    p : float
        Below 1.
    per_gate : bool, default False
        Whether each gate has a mask of its own, as in Keras's LSTM and GRU; then each is a product of its own.
    """
    _check("variational", base)
    p, per_gate = validate.probability("p", p), validate.flag("per_gate", per_gate)

    def mask():
        return noise.bernoulli(1 - p, per="sequence") / (1 - p)

    return _seen(base, "variational", [mask] * (len(base.seeing_gates) if per_gate else 1), lambda h, m: h * m)


@cache
def gaussian_noise(base: Cell, deviation: float) -> Cell:
    """The same cell, whose recurrent products see the first state with normal noise added at each step.

    ::

        a_t = W x_t + R (h_{t-1} + deviation * N(0, 1)) + b

    Parameters
    ----------
    base : Cell
    deviation : float
        Standard deviation of the noise, 0 or more.
    """
    _check("gaussian_noise", base)
    deviation = validate.number("deviation", deviation, 0)
    return _seen(base, "gaussian_noise", [lambda: noise.normal(deviation)], lambda h, n: h + n)


def _check(name: str, base: Any) -> None:
    if not isinstance(base, Cell):
        raise CellError(f"{name} got {base!r}; give a cell made by nblstm.cell, or one of nblstm.cells")
    base.check()  # an error in its equations is its own


def _called(base: Cell, given: dict[str, Any]) -> tuple:
    new = base(*(given[name] for name in base.arguments))
    return tuple(new) if isinstance(new, tuple | list) else (new,)


def _seen(base: Cell, name: str, draws: list[Callable[[], Any]], change: Callable[[Any, Any], Any]) -> Cell:
    """The cell whose recurrent products have changed operands: ``change(operand, drawn)``.

    All share one draw, or there is one for each recurrent gate.
    """
    check_recurs(name, base, base.seeing_gates)
    fed = [f"{g}_h" if g in base.split else g for g in base.seeing_gates]
    arguments = (*argument_names(base), *base.states, *base.given, *base.vectors, *base.scalars)

    def equations(*scalars):
        given = dict(zip(arguments, scalars, strict=True))
        drawn = [draw() for draw in draws] * (len(fed) if len(draws) == 1 else 1)
        for own, number in zip(fed, drawn, strict=True):

            def product(operand, gate=given[own], number=number):
                return gate(change(operand, number))

            given[own] = product if own in base.functions else product(given[base.states[0]])
        return _called(base, given)

    return _like(base, name, equations, arguments, {"called": " ".join(base.recurrent_gates)})


def _like(base: Cell, name: str, equations: Callable, arguments: tuple[str, ...], changed: dict[str, str]) -> Cell:
    """The cell of these equations that is declared as another one."""
    with_signature(equations, f"{base.name}_{name}", base.__doc__, arguments)
    return cell(**as_declared(base) | changed)(equations)
