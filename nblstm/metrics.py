"""Keras's name for `nblstm.training.metrics`."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.training.metrics import *

explain_missing_names(__name__)
del explain_missing_names
