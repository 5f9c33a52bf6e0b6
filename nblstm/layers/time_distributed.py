"""A layer applied to each step of a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.layers.base.layer import LAYERS, Layer, register
from nblstm.layers.base.options import LayerOptions, Unpack
from nblstm.layers.base.shapes import Shape, dimensions


@register()
class TimeDistributed(Layer):
    """Applies ``layer`` to each step: (B, T, ...) to (B, T, ...).

    Time is folded into the batch, (B T, ...), so that the layer runs once.

    Parameters
    ----------
    layer : Layer
        Its parameters are this layer's; its dtype too.
    **kwargs
        Of `Layer`, but for ``dtype``.

    Notes
    -----
    Of a mask with more dimensions than (B, T), the layer gets each step's; and of a mask (B, T), whether a step counts,
    if its input has features alone. The output's mask is the layer's: the one
    that a Masking or an Embedding makes, or that another passes on. Where the layer leaves none, as an LSTM that gives
    its last output, a step counts if any part of it does. This is Keras 2's rule; Keras 3 makes no mask here, and
    passes on the one that came even where the output has no such steps.
    """

    min_ndim = 3
    unsaved = ("input_shape", "input_dim", "dtype", "trainable")
    supports_masking = True
    keeps_steps_apart = True

    def __init__(self, layer: Layer, **kwargs: Unpack[LayerOptions]):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer is {layer!r}; give a layer, such as Dense(10), and no model")
        kwargs.setdefault("trainable", layer.trainable)
        kwargs.setdefault("dtype", layer.dtype)
        super().__init__(**kwargs)
        self.layer = self.hold(layer, prefix="")
        self.trainable = kwargs["trainable"]
        self.makes_masks = layer.makes_masks

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        """The layer that gave this config."""
        return super().from_config({**config, "layer": LAYERS.make(config.get("layer"))})

    def _held_shape(self, layer: Layer, shape: Shape) -> Shape:
        return (None, *shape[2:])

    def _output_shape(self, shape: Shape) -> Shape:
        inner = dimensions("the output's shape", self.layer.compute_output_shape((None, *shape[2:])))
        return (*shape[:2], *inner[1:])

    def _converted(self, x) -> np.ndarray:
        return self.layer._converted(x)

    def compute_mask(self, x, mask=None) -> np.ndarray | None:
        """Return the mask (B, T, ...) of the output; see the notes above."""
        x, mask = np.asarray(x), None if mask is None else np.asarray(mask)
        within = self.layer.compute_mask(_folded(x), _masks_of_steps(mask))
        if within is not None:
            return within.reshape(*x.shape[:2], *within.shape[1:])
        return mask if mask is None or mask.ndim == 2 else mask.any(axis=tuple(range(2, mask.ndim)))

    def _forward(self, x, training, mask, generator):
        if mask is not None and x.ndim == 3 and self.layer.supports_masking:
            mask = mask.reshape(-1)  # of rows (B T,), which count in the statistics of a BatchNormalization
        else:
            mask = _masks_of_steps(mask)
        y, tape = self.layer.forward(_folded(x), training=training, mask=mask, generator=generator)
        return y.reshape(*x.shape[:2], *y.shape[1:]), (tape, x.shape)

    def _backward(self, saved, dy, gradients, input_gradient):
        tape, x_shape = saved
        dy = dy.reshape(tape.y_shape)
        dx, _ = self.layer.backward(tape, dy, input_gradient=input_gradient, into=gradients[self.layer])
        return None if dx is None else dx.reshape(x_shape)


def _folded(array: np.ndarray) -> np.ndarray:
    """(B, T, ...) as (B T, ...)."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def _masks_of_steps(mask: np.ndarray | None) -> np.ndarray | None:
    """A mask (B, T, ...) as that of the layer within; None where it says nothing about parts of steps."""
    return None if mask is None or mask.ndim == 2 else _folded(mask)
