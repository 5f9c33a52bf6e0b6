"""Keras's name for what prepares data, fixes random numbers and begins anew."""

from nblstm.layers.names import clear_session
from nblstm.seeds import set_random_seed
from nblstm.training.encoding import normalize, pad_sequences, to_categorical
from nblstm.training.pydataset import PyDataset

#: Keras's older name.
Sequence = PyDataset

__all__ = ["PyDataset", "Sequence", "clear_session", "normalize", "pad_sequences", "set_random_seed", "to_categorical"]
