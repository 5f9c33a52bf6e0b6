"""Keras's name for `nblstm.training.optimizers`."""

from nblstm.optimizers import schedules as schedules
from nblstm.training.optimizers import *
