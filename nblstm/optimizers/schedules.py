"""Keras's name for `nblstm.training.optimizers.schedules`."""

from nblstm.training.optimizers.schedules import *
