"""Bistable recurrent cells, with memory in each neuron."""

from nblstm.cells.cell import cell
from nblstm.symbolic.functions import sigmoid, tanh


@cell(gates="a c n", states="h", input_only="a c n", vectors="w_a w_c")
def br(a, c, n, h, w_a, w_c):
    """BRC: bistable recurrent cell, of one neuron (Vecoven, Ernst & Drion 2021, doi 10.1371/journal.pone.0252676)."""
    a = 1 + tanh(a + w_a * h)
    c = sigmoid(c + w_c * h)
    return c * h + (1 - c) * tanh(n + a * h)


@cell(gates="a c n", states="h", input_only="n")
def nbr(a, c, n, h):
    """nBRC: BRC with neuromodulation (Vecoven, Ernst & Drion 2021, doi 10.1371/journal.pone.0252676)."""
    a = 1 + tanh(a)
    c = sigmoid(c)
    return c * h + (1 - c) * tanh(n + a * h)
