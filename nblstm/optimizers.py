"""Keras's name for `nblstm.training.optimizers`."""

from nblstm.training.optimizers import *
