"""Keras's name for `nblstm.training.schedules`."""

from nblstm.training.schedules import *
