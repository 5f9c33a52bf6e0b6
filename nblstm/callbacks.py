"""Keras's name for `nblstm.training.callbacks`."""

from nblstm.training.callbacks import *
