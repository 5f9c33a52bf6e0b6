"""sLSTM, the scalar memory of xLSTM: exponential gates, a stabiliser, heads."""

from functools import cache

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.cells.recurrent_matrix import heads as block_diagonal
from nblstm.symbolic.functions import exp, log_sigmoid, maximum, sigmoid, tanh


def slstm_with(heads: int = 1, forget: str = "sigmoid") -> Cell:
    """sLSTM: an LSTM with exponential gates, of xLSTM (Beck et al. 2024, arXiv 2405.04517).

    ``c' = f c + exp(i) tanh(z), n' = f n + exp(i), h' = sigmoid(o) c' / n'``, with c and n divided by ``exp(m)``, the
    paper's stabiliser, so that no exponential overflows: it cancels in h.

    Parameters
    ----------
    heads : int, default 1
        Blocks of units that see no other units' states: H must be a multiple.
    forget : {"sigmoid", "exp"}
        The forget gate. The paper allows both.

    Returns
    -------
    Cell
        Its stabiliser starts at -1e30, so that the first input sets it.
    """
    return _slstm(
        validate.positive_integer("heads", heads), validate.choice("forget", forget, ("sigmoid", "exp")) == "exp"
    )


@cache
def _slstm(heads: int, exponential: bool) -> Cell:
    matrix = block_diagonal(heads) if heads > 1 else None

    @cell(gates="i f z o", states="h c n m", initial={"m": -1e30}, matrix=matrix)
    def slstm(i, f, z, o, h, c, n, m):
        """sLSTM: exponential gates, kept from overflow by a stabiliser m (Beck et al. 2024, arXiv 2405.04517)."""
        log_f = f if exponential else log_sigmoid(f)
        m_last, m = m, maximum(log_f + m, i)
        f, i = exp(log_f + m_last - m), exp(i - m)
        c = f * c + i * tanh(z)
        n = f * n + i
        h = sigmoid(o) * c / n
        return h, c, n, m

    return slstm


slstm = slstm_with()
