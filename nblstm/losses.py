"""Keras's name for `nblstm.training.losses`; the functions are Keras's too, of y_true and y_pred."""

from nblstm.training.losses import *
from nblstm.training.rowwise import *  # type: ignore[assignment]  # in place of those of predictions
