"""Long expressive memory."""

from functools import cache

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.symbolic.functions import sigmoid, tanh


def lem_with(dt: float = 1.0) -> Cell:
    """LEM: long expressive memory, with learned time steps (Rusch, Mishra, Erichson & Mahoney 2022, arXiv 2110.04744).

    Parameters
    ----------
    dt : float
        The largest time step.

    Returns
    -------
    Cell
        With the paper's states: ``y``, the output, and ``z``. The candidate of ``y`` sees the new ``z``, as in the
        paper; in torchrecurrent 0.2.5 it sees the previous one.
    """
    return _lem(validate.number("dt", dt))


@cache
def _lem(dt: float) -> Cell:
    @cell(gates="t1 t2 z_in y_in", states="y z", called="y_in")
    def lem(t1, t2, z_in, y_in, y, z):
        """LEM: long expressive memory, with learned time steps (Rusch et al. 2022, arXiv 2110.04744)."""
        t1, t2 = dt * sigmoid(t1), dt * sigmoid(t2)
        z = (1 - t1) * z + t1 * tanh(z_in)
        y = (1 - t2) * y + t2 * tanh(y_in(z))
        return y, z

    return lem


lem = lem_with()
