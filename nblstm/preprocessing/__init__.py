"""Arrays of sequences, under Keras's older name."""

from nblstm.preprocessing import sequence

__all__ = ["sequence"]
