"""Keras's name for `nblstm.layers.initializers`."""

from nblstm.layers.initializers import *
