"""Layers with Keras's names, arguments and defaults."""

from __future__ import annotations

from typing import Any

from nblstm import activations, constraints, initializers, regularizers
from nblstm.arguments import custom
from nblstm.arguments.missing import explain_missing_names
from nblstm.layers.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from nblstm.layers.base.layer import LAYERS, Layer, register
from nblstm.layers.base.parameters import Parameter
from nblstm.layers.base.passes import Tape
from nblstm.layers.batch_normalization import BatchNormalization
from nblstm.layers.convolution import Conv1D, Conv2D, Convolution1D, Convolution2D
from nblstm.layers.dense import Dense
from nblstm.layers.dropout import Dropout, GaussianDropout, GaussianNoise, SpatialDropout1D
from nblstm.layers.embedding import Embedding
from nblstm.layers.input import Input, InputLayer, Masking
from nblstm.layers.normalization import LayerNormalization, Normalization
from nblstm.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AvgPool1D,
    AvgPool2D,
    GlobalAveragePooling1D,
    GlobalAvgPool1D,
    GlobalMaxPool1D,
    GlobalMaxPooling1D,
    MaxPool1D,
    MaxPool2D,
    MaxPooling1D,
    MaxPooling2D,
)
from nblstm.layers.recurrent.bidirectional import Bidirectional
from nblstm.layers.recurrent.cell_registry import register_cell
from nblstm.layers.recurrent.gru import GRU
from nblstm.layers.recurrent.lstm import LSTM
from nblstm.layers.recurrent.recurrent import Recurrent
from nblstm.layers.recurrent.rnn import RNN, SimpleRNN
from nblstm.layers.recurrent.stepper import Stepper
from nblstm.layers.reshaping import Cropping1D, Flatten, Permute, RepeatVector, Reshape, UpSampling1D, ZeroPadding1D
from nblstm.layers.time_distributed import TimeDistributed

__all__ = [
    "ELU", "GRU", "LSTM", "RNN", "Activation", "AveragePooling1D", "AveragePooling2D", "AvgPool1D", "AvgPool2D",
    "BatchNormalization", "Bidirectional", "Conv1D", "Conv2D", "Convolution1D", "Convolution2D", "Cropping1D",
    "Dense", "Dropout", "Embedding", "Flatten", "GaussianDropout", "GaussianNoise", "GlobalAveragePooling1D",
    "GlobalAvgPool1D", "GlobalMaxPool1D", "GlobalMaxPooling1D", "Input", "InputLayer", "Layer",
    "LayerNormalization", "LeakyReLU", "Masking", "MaxPool1D", "MaxPool2D", "MaxPooling1D", "MaxPooling2D",
    "Normalization", "PReLU", "Parameter", "Permute", "ReLU", "Recurrent", "RepeatVector", "Reshape", "SimpleRNN",
    "Softmax", "SpatialDropout1D", "Stepper", "Tape", "TimeDistributed", "UpSampling1D", "ZeroPadding1D",
    "activations", "constraints", "deserialize", "initializers", "register", "register_cell", "regularizers",
    "serialize",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


def serialize(layer: Layer) -> dict[str, Any]:
    """The layer's class and config, as plain values; its parameters are not in it."""
    return layer.record()


def deserialize(record: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Layer:
    """The layer that `serialize` gave this for, not built.

    Parameters
    ----------
    record : dict
    custom_objects : dict of str to object, optional
        What names in it stand for, before those that are registered.
    """
    with custom.custom_object_scope(custom_objects):
        return LAYERS.make(record)
