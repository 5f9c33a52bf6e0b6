"""A layer applied to each step of a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.base.layer import LAYERS, Layer, register
from nblstm.layers.base.options import LayerOptions, Unpack
from nblstm.layers.base.parametric import Parameter
from nblstm.layers.base.shapes import Shape, batch_shape, dimensions
from nblstm.nn import Gradients


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
    Of a mask with more dimensions than (B, T), the layer gets each step's. The output's mask is the layer's: the one
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
        self.layer = layer
        kwargs.setdefault("trainable", layer.trainable)
        kwargs.setdefault("dtype", layer.dtype)
        super().__init__(**kwargs)
        if self.dtype != layer.dtype:
            raise ValueError(f"dtype is {self.dtype} and that of {layer.name!r} {layer.dtype}; give it to the latter")

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        """The layer that gave this config."""
        return super().from_config({**config, "layer": LAYERS.make(config.get("layer"))})

    @property
    def trainable(self) -> bool:
        """Whether training changes the parameters: that of the layer within."""
        return self.layer.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.layer.trainable = validate.flag("trainable", value)

    @property
    def generator(self):
        """That of the layer within."""
        return self.layer.generator

    @property
    def makes_masks(self) -> bool:  # type: ignore[override]
        """Whether the layer within does."""
        return self.layer.makes_masks

    def build(self, input_shape, generator: np.random.Generator | None = None) -> None:
        """Make the parameters of the layer within; see `Layer.build`."""
        shape = batch_shape("input_shape", input_shape)
        self.compute_output_shape(shape)
        self.layer.build((None, *shape[2:]), generator)
        with self._build_lock:
            self._layout, self._flat, self._own = self.layer._layout, self.layer._flat, self.layer._own
            self.input_shape = shape

    def unbuild(self) -> None:
        """Take the parameters of the layer within away; see `Layer.unbuild`."""
        super().unbuild()
        self.layer.unbuild()

    def parameter_shapes(self, input_shape) -> dict[str, tuple[int, ...]]:
        """Those of the layer within."""
        shape = batch_shape("input_shape", input_shape)
        self._check_ndim(shape)
        return self.layer.parameter_shapes((None, *shape[2:]))

    def flat_parameters(self) -> np.ndarray:
        """Those of the layer within, which has to know that they are lent."""
        return self.layer.flat_parameters()

    def forget(self) -> None:
        """As the layer within, whose parameters they are."""
        self.layer.forget()

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the parameters of the layer within."""
        return self.layer.state_dict()

    def _put(self, staged: np.ndarray) -> None:
        self.layer._put(staged)

    @property
    def described(self) -> dict[str, Parameter]:
        """Those of the layer within."""
        return self.layer.described

    def regularization_loss(self) -> float:
        """That of the layer within."""
        return self.layer.regularization_loss()

    def add_regularization_gradient(self, gradients: Gradients) -> None:
        """That of the layer within."""
        self.layer.add_regularization_gradient(gradients)

    def warmup(self) -> None:
        """Compile every kernel that the wrapped layer can need."""
        self.layer.warmup()

    def apply_constraints(self) -> None:
        """Those of the layer within."""
        self.layer.apply_constraints()

    def _check_ndim(self, shape: tuple) -> None:
        super()._check_ndim(shape)
        self.layer._check_ndim((None, *shape[2:]))

    def _output_shape(self, shape: Shape) -> Shape:
        inner = dimensions("the output's shape", self.layer._output_shape((None, *shape[2:])))
        return (*shape[:2], *inner[1:])

    def _converted(self, x) -> np.ndarray:
        return self.layer._converted(x)

    def compute_mask(self, x, mask=None) -> np.ndarray | None:
        """The mask (B, T, ...) of the output; see the notes above."""
        x, mask = np.asarray(x), None if mask is None else np.asarray(mask)
        within = self.layer.compute_mask(_folded(x), _masks_of_steps(mask))
        if within is not None:
            return within.reshape(*x.shape[:2], *within.shape[1:])
        return mask if mask is None or mask.ndim == 2 else mask.any(axis=tuple(range(2, mask.ndim)))

    def _forward(self, x, training, mask, generator):
        y, tape = self.layer.forward(_folded(x), training=training, mask=_masks_of_steps(mask), generator=generator)
        return y.reshape(*x.shape[:2], *y.shape[1:]), (tape, x.shape)

    def _backward(self, saved, dy, gradients, input_gradient):
        tape, x_shape = saved
        dx, own = self.layer.backward(tape, dy.reshape(tape.y_shape), input_gradient=input_gradient)
        for name, gradient in gradients.items():
            gradient[...] = own.params[name]
        return None if dx is None else dx.reshape(x_shape)


def _folded(array: np.ndarray) -> np.ndarray:
    """(B, T, ...) as (B T, ...)."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def _masks_of_steps(mask: np.ndarray | None) -> np.ndarray | None:
    """A mask (B, T, ...) as that of the layer within; None where it says nothing about parts of steps."""
    return None if mask is None or mask.ndim == 2 else _folded(mask)
