"""Keras's name for `nblstm.layers.activations`."""

from nblstm.layers.activations import *
