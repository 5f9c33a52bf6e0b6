"""A model step by step: as a value for functions under `numba.njit`, and as an object that keeps its states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nblstm import activations
from nblstm.activations import ActivationFunction
from nblstm.layers import (
    ELU,
    Activation,
    BatchNormalization,
    Dense,
    Dropout,
    Embedding,
    GaussianDropout,
    GaussianNoise,
    LayerNormalization,
    LeakyReLU,
    Normalization,
    PReLU,
    Recurrent,
    ReLU,
    Softmax,
    SpatialDropout1D,
    TimeDistributed,
)
from nblstm.numba_extension import row_parts
from nblstm.numba_extension.block import Part
from nblstm.numba_extension.compiled_network import CompiledNetwork
from nblstm.numba_extension.recurrent_part import RecurrentPart


def compiled_model(model: Any, batch_size: int) -> CompiledNetwork:
    """A model with its parameters as they are now."""
    model._need_built()
    return CompiledNetwork(model._parameters_lock.read(_parts, model), batch_size, "layers")


def _parts(model: Any) -> list[Part]:
    """Parts of all layers, in one dtype."""
    parts: list[Part] = []
    for layer in model.layers:
        if layer.dtype != model.dtype:
            raise ValueError(
                f"layer {layer.name!r} has dtype {layer.dtype} and the model {model.dtype}; to step, give all the same"
            )
        with layer._lock:
            own = _parts_of(layer)
        if parts and own and own[0].vocabulary:
            raise ValueError(f"layer {layer.name!r} is an Embedding behind other layers; to step, put it first")
        parts += own
    if not parts:
        raise ValueError("the model has no layer that computes anything; give it one, to step")
    return parts


def _parts_of(layer: Any) -> list[Part]:
    """Parts of a layer: none where it passes its input on."""
    if isinstance(layer, Recurrent) and not layer.go_backwards:
        return [RecurrentPart.of(layer)]
    own = layer.layer if type(layer) is TimeDistributed else layer
    make = _STATELESS.get(type(own))
    apart = len(layer.input_shape) <= (2 if isinstance(own, Embedding) else 3)  # a step is a row of features
    if make is None or not apart:
        why = f"is a {type(layer).__name__}, which" if apart else f"has an input of shape {layer.input_shape} and"
        why = "goes backwards and" if isinstance(layer, Recurrent) else why
        raise ValueError(
            f"layer {layer.name!r} {why} cannot step; give a model of recurrent layers that read forwards, Dense, "
            "Activation and others of activations, Embedding, normalizations and Dropout, on inputs (B, T, features)"
        )
    return make(own)


def _dense(layer: Dense) -> list[Part]:
    part = row_parts.dense(layer._own["kernel"].copy(), layer._own["bias"].copy() if layer.use_bias else None)
    return [part, *_activation(layer, layer.activation, layer.units)]


def _activation(layer: Any, activation: ActivationFunction, N: int) -> list[Part]:
    if activation is activations.linear:
        return []
    if activation in (activations.softmax, activations.log_softmax):
        return [row_parts.softmax(activation is activations.log_softmax, N, layer.dtype)]
    if activation.scalar is None:
        raise ValueError(
            f"layer {layer.name!r} has the activation {activation.name!r} on whole arrays, which cannot be compiled; "
            "give an ActivationFunction with scalar="
        )
    return [row_parts.activation(activation.name, activation.scalar, N, layer.dtype)]


def _formula(layer: Any) -> list[Part]:
    return _activation(layer, layer.activation, layer.input_shape[-1])


def _softmax(layer: Softmax) -> list[Part]:
    return _activation(layer, activations.softmax, _features(layer, layer._axes))


def _features(layer: Any, axes: tuple[int, ...]) -> int:
    """The number of features, if these are the axes of a layer, or ()."""
    shape: Any = layer.input_shape
    if {a % len(shape) for a in axes} - {len(shape) - 1}:
        raise ValueError(
            f"layer {layer.name!r} normalizes over axis {layer.axis}, and a step has features alone; give axis=-1"
        )
    return shape[-1]


def _batch_normalization(layer: BatchNormalization) -> list[Part]:
    _features(layer, (layer.axis,))
    return [row_parts.scaling(*layer._affine(layer._own))]


def _scaled(layer: Normalization) -> list[Part]:
    N, ndim = _features(layer, layer.axis), len(layer.input_shape or ())
    mean, deviation = (np.broadcast_to(value.reshape(-1), N) for value in layer._used(layer._own, ndim))
    if layer.invert:
        return [row_parts.scaling(deviation, mean)]
    ones, zeros = np.ones(N, layer.dtype), np.zeros(N, layer.dtype)
    return [row_parts.scaling(ones, -mean), row_parts.scaling(1 / deviation, zeros)]  # x - mean, where it is 0, is 0


def _rectifier(layer: PReLU) -> list[Part]:
    alpha, N = layer._own["alpha"], _features(layer, ())
    if alpha.size > alpha.shape[-1]:
        raise ValueError(f"layer {layer.name!r} has an alpha for each step; give shared_axes=[1]")
    return [row_parts.rectifier(np.broadcast_to(alpha.reshape(-1), N).copy())]


def _normalization(layer: LayerNormalization) -> list[Part]:
    N = _features(layer, layer.fixed_axes)
    gamma = layer._own["gamma"].copy() if layer.scale else np.ones(N, layer.dtype)
    beta = layer._own["beta"].copy() if layer.center else np.zeros(N, layer.dtype)
    return [row_parts.normalization(gamma, beta, layer.epsilon)]


#: Parts of layers without states, by their class: what a subclass computes is not known.
_STATELESS: dict[type, Callable[[Any], list[Part]]] = {
    Dense: _dense,
    **dict.fromkeys((Activation, ReLU, LeakyReLU, ELU), _formula),
    PReLU: _rectifier,
    Softmax: _softmax,
    Embedding: lambda layer: [row_parts.embedding(layer._own["embeddings"].copy(), layer.mask_zero)],
    LayerNormalization: _normalization,
    BatchNormalization: _batch_normalization,
    Normalization: _scaled,
    **dict.fromkeys((Dropout, SpatialDropout1D, GaussianDropout, GaussianNoise), lambda layer: []),
}


class ModelStepper:
    """A model that is given one time step per call and keeps its states. Made by `Sequential.stepper`.

    Nothing is allocated per step: the returned outputs are the stepper's own buffer, overwritten by the next
    step; copy them to keep them. Changes of the parameters are seen at the next step. A stepper is for one thread at a
    time.
    """

    def __init__(self, model: Any, batch_size: int = 1):
        self._model, self._layers = model, model.layers
        self._seen = self._marks()
        self._net = compiled_model(model, batch_size)
        self._taken = np.dtype(np.int64 if isinstance(self._layers[0], Embedding) else model.dtype)
        self._s = self._net.zero_state()

    def __repr__(self):
        return f"<ModelStepper of {self._model!r}, batch_size {self._net.batch_size}>"

    def __reduce__(self):
        return _resumed, (self._model, self._net.batch_size, self.state)

    def _marks(self) -> list[object]:
        """For each layer an object that is another one when its parameters may have changed."""
        return [layer._derived("stepper", lambda own: object()) for layer in self._layers]

    def _up_to_date(self) -> None:
        for layer, mark in zip(self._layers, self._seen, strict=True):
            if layer._lent or layer._cache.get("stepper") is not mark:
                self._seen = self._marks()  # before, so that what is set meanwhile is seen in the next step
                self._net.update(self._model)
                return

    def __call__(self, x_t) -> np.ndarray:
        """Advance by one step.

        Parameters
        ----------
        x_t : array_like, shape (B, I), or (I,) where B is 1
            For a model that begins with an Embedding: whole numbers (B,), or one where B is 1.

        Returns
        -------
        ndarray, shape (B, O), or (O,) for an input (I,) or one number
            Outputs of the last layer; valid until the next step.
        """
        self._up_to_date()
        if type(x_t) is not np.ndarray or x_t.dtype != self._taken:
            x_t = self._layers[0]._converted(x_t)
        return self._net.step(x_t, self._s)

    @property
    def state(self) -> list[list[np.ndarray]]:
        """For each recurrent layer its states, (B, H) each: copies. Can be assigned."""
        return [[state.copy() for state in layer] for layer in self._net.states(self._s)]

    @state.setter
    def state(self, state) -> None:
        self.reset(state)

    def reset(self, state=None) -> None:
        """Set the states, to the layers' initial ones if not given.

        Parameters
        ----------
        state : list of list of array_like, optional
            For each recurrent layer its states, (B, H) each.
        """
        if state is None:
            self._up_to_date()  # learned initial states are parameters
            self._net.reset(self._s)
        else:
            self._net.set_states(self._s, state)


def _resumed(model: Any, batch_size: int, state) -> ModelStepper:
    """A stepper as another left off: what copies and pickles are made by."""
    stepper = ModelStepper(model, batch_size)
    stepper.reset(state)
    return stepper
