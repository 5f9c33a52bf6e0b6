"""The simple gated unit and the deep simple gated unit."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import hard_sigmoid, sigmoid, softplus, tanh


@cell(gates="g z", states="h", split="g", called="g")
def sgu(g_x, g_h, z, h):
    """SGU: simple gated unit, a gate of products of products (Gao & Glowacka 2016, arXiv 1604.02910).

    `hard_sigmoid` has the slope 1/6, as in torch; the paper leaves it open.
    """
    g = tanh(g_h(g_x * h))
    z = hard_sigmoid(z)
    return (1 - z) * h + z * softplus(g * h)


@cell(gates="g z o", states="h", split="g", called="g o", recurrent_only="o")
def dsgu(g_x, g_h, z, o, h):
    """DSGU: `sgu` with one more matrix, of the candidate (Gao & Glowacka 2016, PMLR 63)."""
    g = tanh(g_h(g_x * h))
    z = hard_sigmoid(z)
    return (1 - z) * h + z * sigmoid(o(g * h))
