"""Losses, optimizers and what stands between them, with Keras's names."""

from nblstm.training.clipping import clip_by_global_norm
from nblstm.training.losses import mean_squared_error
from nblstm.training.optimizers import Adam

__all__ = ["Adam", "clip_by_global_norm", "mean_squared_error"]
