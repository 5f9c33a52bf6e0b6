"""The shape of a model's input, and steps of it that the layers behind are to skip."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.base.layer import Layer, register
from nblstm.layers.base.options import DTypeLike, LayerOptions, ShapeLike, Unpack
from nblstm.layers.base.shapes import batch_shape as checked_batch_shape
from nblstm.layers.base.shapes import dimensions


@register()
class InputLayer(Layer):
    """Checks that data has the shape that was announced, and passes it on.

    Parameters
    ----------
    shape : tuple, optional
        Without the batch; None where unknown.
    batch_size : int, optional
        The batch's part of ``batch_shape``; batches of other sizes are accepted.
    dtype : str, optional
        What the data is converted to, such as "int32"; left as it is if not given.
    batch_shape : tuple, optional
        The shape with the batch, in place of the two.
    name : str, optional
    input_shape, batch_input_shape : tuple, optional
        Keras 2's names of ``shape`` and ``batch_shape``.
    trainable : bool, default True
        There is nothing to train.
    """

    supports_masking = True

    def __init__(
        self, shape: ShapeLike = None, batch_size: int | None = None, dtype: DTypeLike = None,
        batch_shape: ShapeLike = None, name: str | None = None, *, input_shape: ShapeLike = None,
        batch_input_shape: ShapeLike = None, trainable: bool = True, **unknown: NoReturn,
    ):  # fmt: skip
        given = {"shape": shape, "batch_shape": batch_shape}
        given |= {"input_shape": input_shape, "batch_input_shape": batch_input_shape}
        shape, batch_shape = (given[a] if given[a] is not None else given[b] for a, b in _SYNONYMS)
        if (shape is None) == (batch_shape is None) or (batch_size is not None and shape is None):
            came = [name for name, value in [*given.items(), ("batch_size", batch_size)] if value is not None]
            raise ValueError(
                f"an Input got {' and '.join(came) or 'no shape'}; give shape=(T, I), without the batch, or batch_shape"
            )
        if shape is not None:
            size = None if batch_size is None else validate.positive_integer("batch_size", batch_size)
            batch_shape = (size, *dimensions("shape", shape))
        self.batch_shape = checked_batch_shape("batch_shape", batch_shape)
        self.data_dtype = None if dtype is None else _number_dtype(dtype)
        float_dtype = self.data_dtype if self.data_dtype in validate.DTYPES else None
        super().__init__(
            name=name, trainable=trainable, batch_input_shape=self.batch_shape, dtype=float_dtype, **unknown
        )  # fmt: skip
        self.ndim = len(self.batch_shape)
        self.fixed_axes = tuple(a for a, n in enumerate(self.batch_shape) if a and n)
        self.build(self.batch_shape)

    def _arguments(self) -> dict[str, Any]:
        return {"batch_shape": self.batch_shape, "dtype": self.data_dtype, "name": self.name}

    def _converted(self, x) -> np.ndarray:
        array = validate.number_array("x", x)
        if self.data_dtype is None:
            return array
        if self.data_dtype in validate.DTYPES:
            return validate.converted("x", array, self.data_dtype)
        with np.errstate(invalid="ignore"):
            converted = array.astype(self.data_dtype, copy=False)
        if not np.array_equal(converted, array):
            raise ValueError(
                f"x has dtype {array.dtype} and entries that {self.data_dtype} cannot hold; round them first"
            )
        return converted

    def _forward(self, x, training, mask, generator):
        return x, x.dtype.kind == "f"

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy if saved else None


_SYNONYMS = (("shape", "input_shape"), ("batch_shape", "batch_input_shape"))


def Input(
    shape: ShapeLike = None, batch_size: int | None = None, dtype: DTypeLike = None, batch_shape: ShapeLike = None,
    name: str | None = None,
) -> InputLayer:  # fmt: skip
    """An `InputLayer`, under the name that programs use.

    Returns
    -------
    InputLayer
    """
    return InputLayer(shape, batch_size, dtype, batch_shape, name)


def _number_dtype(dtype) -> str:
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool"):
        raise ValueError(f"dtype is {name}; give float32, float64, int32 or another dtype of whole numbers")
    return name


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
