"""Keras's name for `nblstm.training.optimizers.schedules`."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.training.optimizers.schedules import *

explain_missing_names(__name__)
del explain_missing_names
