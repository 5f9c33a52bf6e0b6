"""Steps that the layers behind are to skip."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.base.layer import Layer, register
from nblstm.layers.base.options import LayerOptions, Unpack


@register()
class Masking(Layer):
    """Masks the steps whose features all equal ``mask_value``, and sets them to 0.

    Parameters
    ----------
    mask_value : float, default 0.0
    **kwargs
        Of `Layer`.
    """

    min_ndim = 2
    supports_masking = makes_masks = True
    keeps_steps_apart = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.mask_value = validate.number("mask_value", mask_value)

    def compute_mask(self, x, mask=None) -> np.ndarray:
        """True for steps with a feature that is not ``mask_value``; an earlier mask is replaced, as in Keras."""
        x = self._converted(x)
        return (x != x.dtype.type(self.mask_value)).any(axis=-1)

    def _forward(self, x, training, mask, generator):
        kept = self.compute_mask(x)[..., None]
        return np.where(kept, x, 0), kept

    def _backward(self, saved, dy, gradients, input_gradient):
        return np.where(saved, dy, 0)
