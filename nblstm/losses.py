"""Keras's name for `nblstm.training.losses`."""

from nblstm.training.losses import *
