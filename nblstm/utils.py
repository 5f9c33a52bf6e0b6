"""Keras's name for what prepares data and fixes random numbers."""

from nblstm.seeds import set_random_seed
from nblstm.training.encoding import pad_sequences, to_categorical
from nblstm.training.pydataset import PyDataset

#: Keras's older name.
Sequence = PyDataset

__all__ = ["PyDataset", "Sequence", "pad_sequences", "set_random_seed", "to_categorical"]
