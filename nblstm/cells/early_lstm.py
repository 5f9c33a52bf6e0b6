"""The LSTM of 1997, without a forget gate."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="i g o", states="h c")
def originallstm(i, g, o, h, c):
    """LSTM as it was first: a constant error carousel (Hochreiter & Schmidhuber 1997, Neural Computation 9(8)).

    Its squashing functions are ``4 sigmoid(g) - 2``, which is 2 tanh(g / 2), and ``2 sigmoid(c) - 1``, tanh(c / 2);
    torchrecurrent has tanh for both: the same network, with half of its ``c`` and of the weights of ``g``.
    """
    c = c + sigmoid(i) * 2 * tanh(g / 2)
    h = sigmoid(o) * tanh(c / 2)
    return h, c
