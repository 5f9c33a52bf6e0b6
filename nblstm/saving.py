"""Keras's name for what files hold: models, and objects of one's own by name."""

from nblstm.arguments.custom import custom_object_scope, get_custom_objects, register_keras_serializable
from nblstm.models import load_model, save_model

__all__ = [
    "custom_object_scope", "get_custom_objects", "load_model", "register_keras_serializable",
    "save_model",
]  # fmt: skip
