"""Strongly-typed recurrent networks, in which the state meets no matrix.

The previous input comes as what its weights made of it a step before: ``z_next`` is ``V_z x_t``, and in the next step
the state ``z_last``. So the sizes of input and state are free, and all products are of the input alone.
"""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="z f", states="h", input_only="z f")
def trnn(z, f, h):
    """T-RNN: strongly-typed RNN (Balduzzi & Ghifary 2016, arXiv 1602.02218)."""
    f = sigmoid(f)
    return f * h + (1 - f) * z


@cell(
    gates="z f o z_next f_next o_next", states="h z_last f_last o_last", input_only="z f o z_next f_next o_next"
)  # fmt: skip
def tgru(z, f, o, z_next, f_next, o_next, h, z_last, f_last, o_last):
    """T-GRU: strongly-typed GRU (Balduzzi & Ghifary 2016, arXiv 1602.02218)."""
    z, f, o = z + z_last, sigmoid(f + f_last), tanh(o + o_last)
    h = f * h + z * o
    return h, z_next, f_next, o_next


@cell(
    gates="z f o z_next f_next o_next", states="h c z_last f_last o_last", input_only="z f o z_next f_next o_next"
)  # fmt: skip
def tlstm(z, f, o, z_next, f_next, o_next, h, c, z_last, f_last, o_last):
    """T-LSTM: strongly-typed LSTM (Balduzzi & Ghifary 2016, arXiv 1602.02218); for time gaps see `time_aware_lstm`."""
    z, f, o = z + z_last, sigmoid(f + f_last), tanh(o + o_last)
    c = f * c + (1 - f) * z
    h = c * o
    return h, c, z_next, f_next, o_next
