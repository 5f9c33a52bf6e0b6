"""LSTM and GRU with layer normalisation, as haste has them.

``W x`` is normalised over the units of all gates at once, ``R h`` likewise, so these cells have biases of their own
behind the normalisation: give their networks ``bias=False``.
"""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import primitive, sigmoid, tanh
from nblstm.symbolic.functions_of_units import layer_norm, mean

EPSILON = 1e-5


def normalised(*blocks):
    """The blocks of one vector, less its mean and divided by its standard deviation."""
    centre = mean(sum(blocks)) / len(blocks)
    centred = [z - centre for z in blocks]
    variance = mean(sum(z * z for z in centred)) / len(blocks)
    scale = primitive("rsqrt", variance + EPSILON)
    return [scale * z for z in centred]


@cell(
    gates="i g f o", states="h c", split="i g f o",
    vectors="w_i w_g w_f w_o r_i r_g r_f r_o b_i b_g b_f b_o gain shift",
)  # fmt: skip
def layer_norm_lstm(
    i_x, i_h, g_x, g_h, f_x, f_h, o_x, o_h, h, c,
    w_i, w_g, w_f, w_o, r_i, r_g, r_f, r_o, b_i, b_g, b_f, b_o, gain, shift,
):  # fmt: skip
    """LSTM with layer normalisation (Ba, Kiros & Hinton 2016, arXiv 1607.06450), in haste's order of gates.

    ``w norm(W x) + r norm(R h) + b`` takes the place of the 4 H pre-activations, ``gain norm(c) + shift`` that of c.
    """
    i, g, f, o = normalised(i_x, g_x, f_x, o_x)
    i_h, g_h, f_h, o_h = normalised(i_h, g_h, f_h, o_h)
    i, g = sigmoid(w_i * i + r_i * i_h + b_i), tanh(w_g * g + r_g * g_h + b_g)
    f, o = sigmoid(w_f * f + r_f * f_h + b_f), sigmoid(w_o * o + r_o * o_h + b_o)
    c = f * c + i * g
    h = o * tanh(layer_norm(c, gain, shift, EPSILON))
    return h, c


@cell(
    gates="z r n", states="h", split="z r n",
    vectors="w_z w_r w_n r_z r_r r_n b_z b_r b_n b_rn",
)  # fmt: skip
def layer_norm_gru(z_x, z_h, r_x, r_h, n_x, n_h, h, w_z, w_r, w_n, r_z, r_r, r_n, b_z, b_r, b_n, b_rn):
    """GRU with layer normalisation (Ba, Kiros & Hinton 2016, arXiv 1607.06450), in haste's order of gates.

    ``w norm(W x) + b`` and ``r norm(R h)``, the norms over 3 H numbers, take the places of W x and R h.
    """
    z, r, n = normalised(z_x, r_x, n_x)
    z_h, r_h, n_h = normalised(z_h, r_h, n_h)
    z = sigmoid(w_z * z + r_z * z_h + b_z)
    r = sigmoid(w_r * r + r_r * r_h + b_r)
    n = tanh(w_n * n + b_n + r * (r_n * n_h + b_rn))
    return z * h + (1 - z) * n
