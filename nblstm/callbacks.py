"""Keras's name for `nblstm.training.callbacks`."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.training.callbacks import *

explain_missing_names(__name__)
del explain_missing_names
