"""Keras's name for `nblstm.training.losses`."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.training.losses import *

explain_missing_names(__name__)
del explain_missing_names
