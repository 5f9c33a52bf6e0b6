"""Keras's name for what files hold: models, and objects of one's own by name."""

from nblstm.arguments.custom import custom_object_scope, get_custom_objects, register_keras_serializable
from nblstm.arguments.missing import explain_missing_names
from nblstm.models import load_model, save_model

__all__ = [
    "custom_object_scope", "get_custom_objects", "load_model", "register_keras_serializable",
    "save_model",
]  # fmt: skip

explain_missing_names(__name__)
del explain_missing_names
