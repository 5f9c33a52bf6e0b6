"""Keras's name for `nblstm.training.metrics`, and for losses as functions of y_true and y_pred."""

from nblstm.training.metrics import *
from nblstm.training.rowwise import *
