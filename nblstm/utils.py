"""Keras's name for what prepares data, begins anew, fixes random numbers and names objects of one's own."""

from nblstm.arguments.custom import custom_object_scope, get_custom_objects, register_keras_serializable
from nblstm.arguments.seeds import set_random_seed
from nblstm.layers.base.names import clear_session
from nblstm.training.data.batches import PyDataset
from nblstm.training.data.encoding import normalize, pad_sequences, to_categorical

#: Keras's older name.
Sequence = PyDataset

__all__ = [
    "PyDataset", "Sequence", "clear_session", "custom_object_scope", "get_custom_objects", "normalize", "pad_sequences",
    "register_keras_serializable", "set_random_seed", "to_categorical",
]  # fmt: skip
