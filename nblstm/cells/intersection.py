"""The intersection network, +RNN."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import relu, sigmoid, tanh


@cell(gates="y_in h_in g_y g_h", states="h y", output="y")
def intersectionrnn(y_in, h_in, g_y, g_h, h, y, x):
    """+RNN: one gate over time, one over depth; for I = H (Collins, Sohl-Dickstein & Sussillo 2017, arXiv 1611.09913).

    The output ``y`` goes to the next layer, the state ``h`` to the next step.
    """
    g_y, g_h = sigmoid(g_y), sigmoid(g_h)
    y = g_y * x + (1 - g_y) * relu(y_in)
    h = g_h * h + (1 - g_h) * tanh(h_in)
    return h, y
