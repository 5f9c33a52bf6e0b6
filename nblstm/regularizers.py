"""Keras's name for `nblstm.layers.regularizers`."""

from nblstm.layers.regularizers import *
