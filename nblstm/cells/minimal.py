"""Networks with as little as possible: MGU, MinimalRNN, minGRU, minLSTM, UGRNN."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="f n", states="h", called="n")
def mgu(f, n, h):
    """MGU: minimal gated unit, one gate for both of GRU's (Zhou, Wu, Zhang & Zhou 2016, arXiv 1603.09420)."""
    f = sigmoid(f)
    return (1 - f) * h + f * tanh(n(f * h))


@cell(gates="z u v", states="h", input_only="z", recurrent_only="u v", called="v")
def minimalrnn(z, u, v, h):
    """MinimalRNN: states stay near a latent image of the input (Chen 2017, arXiv 1711.06788)."""
    z = tanh(z)
    u = sigmoid(u + v(z))
    return u * h + (1 - u) * z


@cell(gates="z n", states="h", input_only="z n")
def mingru(z, n, h):
    """minGRU: gates of the input alone (Feng et al. 2024, arXiv 2410.01201)."""
    z = sigmoid(z)
    return (1 - z) * h + z * n


@cell(gates="f i n", states="h", input_only="f i n")
def minlstm(f, i, n, h):
    """minLSTM: gates of the input alone, their sum 1 (Feng et al. 2024, arXiv 2410.01201)."""
    f, i = sigmoid(f), sigmoid(i)
    return f / (f + i) * h + i / (f + i) * n


@cell(gates="c g", states="h")
def ugrnn(c, g, h):
    """UGRNN: update gate RNN, one gate (Collins, Sohl-Dickstein & Sussillo 2017, arXiv 1611.09913)."""
    g = sigmoid(g)
    return g * h + (1 - g) * tanh(c)
