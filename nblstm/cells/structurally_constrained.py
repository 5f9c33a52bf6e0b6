"""The structurally constrained recurrent network."""

from collections.abc import Callable
from functools import cache
from typing import Any

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import activation as activation_named
from nblstm.symbolic.functions import sigmoid


def scrn_with(alpha: float = 0.95, activation: str | Callable[..., Any] = "linear") -> Cell:
    """SCRN: a slow context beside the state (Mikolov, Joulin, Chopra, Mathieu & Ranzato 2014, arXiv 1412.7753).

    Parameters
    ----------
    alpha : float
        How much of the context ``s`` stays, from 0 to 1.
    activation : str, callable or ActivationFunction
        Of the output ``y``. The paper's is a softmax, which a loss of logits has within.

    Returns
    -------
    Cell
        With the paper's states; ``h`` recurs. In torchrecurrent 0.2.5 it is ``y`` that recurs.
    """
    return _scrn(validate.number("alpha", alpha, 0.0, 1.0), activation_named(activation))


@cache
def _scrn(alpha: float, act) -> Cell:
    @cell(gates="b a p u v", states="h s y", output="y", input_only="b", recurrent_only="p u v", called="p u v")
    def scrn(b, a, p, u, v, h, s, y):
        """SCRN: context s, hidden units h, output ``y = act(U h + V s)`` (Mikolov et al. 2014, arXiv 1412.7753)."""
        s = (1 - alpha) * b + alpha * s
        h = sigmoid(p(s) + a)
        y = act(u(h) + v(s))
        return h, s, y

    return scrn


scrn = scrn_with()
