"""Keras's name for what makes arrays of sequences."""

from nblstm.preprocessing import sequence

__all__ = ["sequence"]
