"""Keras's name for `nblstm.layers.constraints`."""

from nblstm.layers.constraints import *
