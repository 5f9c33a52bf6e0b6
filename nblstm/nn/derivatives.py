"""Derivatives of a recurrent network, as methods of `nn.Recurrent`: BPTT, and products with Jacobian and Hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.engine import engine, lookup
from nblstm.engine.asked import Asked
from nblstm.engine.tape import Gradients, Tape
from nblstm.nn.direction import Direction
from nblstm.nn.dual_run import DualRun

if TYPE_CHECKING:
    from nblstm.nn.recurrent import Recurrent


def check_loss(loss_gradient: Any) -> None:
    """Raise TypeError if the gradient of a user's loss is no function."""
    if not callable(loss_gradient):
        raise TypeError(
            f"loss_gradient is {loss_gradient!r} of type {type(loss_gradient).__name__}; give a function that returns "
            "two arrays, as lambda y, d_y: (y - t, d_y) for ((y - t)**2).sum() / 2"
        )


def of_loss(loss_gradient: Callable[..., tuple[Any, Any]], y, d_y) -> tuple[Any, Any]:
    """The gradient of a user's loss, and its derivative in the direction ``d_y``.

    Raises
    ------
    TypeError
        If it is not two arrays that are returned.
    """
    both = loss_gradient(y, d_y)
    if not isinstance(both, tuple | list) or len(both) != 2:
        raise TypeError(
            f"loss_gradient returned {validate.came(both)}; return two arrays, the loss's gradient and its derivative "
            "in the direction d_y"
        )
    return both[0], both[1]


def _another_tape(tape) -> ValueError:
    fix = ", or a reserve by name: backward(None, dy, reserve=...)" if isinstance(tape, np.ndarray) else ""
    return ValueError(f"tape is not from this network's forward(); pass the third of its results{fix}")


def backward(
    self: Recurrent, tape: Tape | None, dy, dstate=None, *, dstates=None, clip=None, truncate: int | None = None,
    steps: bool = False, reserve: np.ndarray | None = None,
) -> Gradients:  # fmt: skip
    """Backpropagation through time.

    Parameters
    ----------
    tape : Tape or None
        From `forward`; None with ``reserve``.
    dy : array_like or None
        Gradient of the loss with respect to the outputs, in their shape; None for zeros.
    dstate : tuple of array_like, optional
        Gradient with respect to the final states, in their shape.
    dstates : tuple of array_like, optional
        Gradient with respect to every state of the last layer at each step, as ``all_states`` gives them; None for
        zeros. That of the output is added to ``dy``.
    clip : float, (str, float), array_like of shape (H,), or dict of str to these, optional
        Limit of the gradient that comes back through a state, for each state or by its name. With ``d_t`` the sum
        of what step t + 1 gave for state t (behind the last step, ``dstate``), in all layers::

            dL/d state_t = clip(d_t) + dy_t

            c, ("value", c), array c     clip(d) = min(max(d, -c), c), unit by unit
            ("norm", c)                  clip(d) = d min(1, c / |d|), |d| over the units of a sequence

        (``dy_t`` is what the loss has of the state at step t itself; what c_t gives to h_t is within step t.)
    truncate : int, optional
        Truncated BPTT: no gradient flows through the states from step n k to step n k - 1, n = 1, 2, ..., of each
        sequence, for k = ``truncate``; steps are counted in the order of processing, without masked ones, and from
        the last reset.
    steps : bool, default False
        Whether ``gradients.steps`` has, for each state, the norm over the units of ``dL/d state_t``
        (num_layers D, T, B).
    reserve : ndarray, optional
        What ``forward(..., reserve=)`` has filled, at any address: BPTT from it alone, with the parameters as they
        are now.

    Returns
    -------
    Gradients
        ``params`` (by name), ``flat`` (all in one buffer), ``x``, ``state`` (of the initial states), ``signals``
        (by name) and ``steps``.

    Raises
    ------
    TypeError, ValueError
        If a shape or dtype does not fit, or the tape is another network's.
    """
    if reserve is not None:
        if tape is not None:
            raise ValueError("tape and reserve are both given; give None as the tape, or no reserve")
        tape = lookup.restored(self, reserve)
    if not isinstance(tape, Tape) or tape.network is not self._network:
        raise _another_tape(tape)
    plain = clip is None and truncate is None and dstates is None and steps is False
    asked = None if plain else Asked(clip, truncate, steps, dstates)
    gradients = engine.backward(tape, dy, self._to_tuple(dstate), asked)
    gradients.state = self._from_tuple(gradients.state)
    return gradients


def per_sample_gradients(self: Recurrent, tape: Tape, dy, dstate=None) -> Gradients:
    """Backpropagation through time, with the gradients of the parameters for each sequence.

    The loop over time runs once for all, then the products that give the weights' gradients run sequence by
    sequence. That takes the memory of B times the parameters. With ``checkpoint`` sums are in another order.

    Parameters
    ----------
    tape, dy, dstate
        As for `backward`.

    Returns
    -------
    Gradients
        As from `backward`, but ``params`` are (B, ...) each, views of ``flat``, (B, number of parameters).

    Raises
    ------
    TypeError, ValueError
        As from `backward`.
    """
    if not isinstance(tape, Tape) or tape.network is not self._network:
        raise _another_tape(tape)
    gradients = engine.per_sample_gradients(tape, dy, self._to_tuple(dstate))
    gradients.state = self._from_tuple(gradients.state)
    return gradients


def jvp(self: Recurrent, x, direction: Direction, state=None, lengths=None, *, mask=None, resets=None, signals=None):
    """Differentiate outputs in a direction: a Jacobian-vector product, by forward mode.

    With x' for what the direction says of x, and likewise of all others::

        d_y  =  d/de network(x + e x', state + e state', signals + e signals'; parameters + e parameters')  at e = 0

    without dropout and noise, as in inference. It costs about three passes of inference. A stateful network begins with
    the states that it carries, and goes on carrying them.

    Parameters
    ----------
    x, state, lengths, mask, resets, signals
        As for calling the network.
    direction : Direction

    Returns
    -------
    (y, states), (d_y, d_states)
        Outputs and final states as from calling the network, and their derivatives in the same shapes.

    Raises
    ------
    TypeError, ValueError
        If something is of another shape than what it belongs to, or the network is on a GPU.
    """
    found = DualRun(self, x, direction, self._start(x, state), lengths, mask, resets, signals)
    return (found.y, self._from_tuple(found.states)), (found.d_y, self._from_tuple(found.d_states))


def hvp(
    self: Recurrent, x, direction: Direction, loss_gradient: Callable[..., tuple[Any, Any]], state=None, lengths=None,
    *, mask=None, resets=None, signals=None,
) -> tuple[Gradients, Gradients]:  # fmt: skip
    """Differentiate the gradient of a loss in a direction: a Hessian-vector product.

    For a loss L of the outputs, with G for the gradient of L with respect to the parameters, x and all others, and x'
    for what the direction says of x::

        products  =  d/de G(x + e x', parameters + e parameters', ...)  at e = 0

    without dropout and noise; exact, by reverse mode over forward mode, at about six times the cost of a gradient.

    Parameters
    ----------
    x, direction, state, lengths, mask, resets, signals
        As for `jvp`.
    loss_gradient : callable
        ``loss_gradient(y, d_y)`` returns two arrays in the shape of y: the gradient g(y) of the loss, and the
        derivative of g at y in the direction d_y. Of ``((y - t)**2).sum() / 2`` these are ``(y - t, d_y)``.

    Returns
    -------
    gradients, products : Gradients
        G, and its derivative in the direction; each with ``params``, ``flat``, ``x``, ``state`` and ``signals``.

    Raises
    ------
    TypeError, ValueError
        As from `jvp`.

    References
    ----------
    B. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6(1), 1994.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm import nn
    >>> net = nn.GRU(3, 4, dtype="float64", seed=0)
    >>> direction = nn.Direction(params={"weight_hh_l0": np.ones((12, 4))})
    >>> gradients, products = net.hvp(np.ones((5, 2, 3)), direction, lambda y, d_y: (y, d_y))  # of (y**2).sum() / 2
    >>> products.params["weight_ih_l0"].shape
    (12, 3)
    """
    check_loss(loss_gradient)
    found = DualRun(self, x, direction, self._start(x, state), lengths, mask, resets, signals)
    d_y, d_d_y = of_loss(loss_gradient, found.y, found.d_y)
    results = found.gradients(d_d_y, d_y)
    for own in results:
        own.state = self._from_tuple(own.state)
    return results
