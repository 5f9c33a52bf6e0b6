"""Keras's name for `nblstm.training.metrics`."""

from nblstm.training.metrics import *
