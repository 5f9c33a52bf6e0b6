"""Keras's name for `nblstm.training.optimizers`."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.optimizers import schedules as schedules
from nblstm.training.optimizers import *

explain_missing_names(__name__)
del explain_missing_names
