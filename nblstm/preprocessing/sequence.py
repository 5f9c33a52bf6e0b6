"""Keras's other name for `nblstm.utils.pad_sequences`."""

from nblstm.utils import pad_sequences

__all__ = ["pad_sequences"]
