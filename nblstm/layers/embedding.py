"""Vectors for whole numbers, such as words."""

from __future__ import annotations

import numpy as np

from nblstm import constraints, initializers, regularizers
from nblstm.arguments import validate
from nblstm.layers.base.layer import Layer, register
from nblstm.layers.base.options import (
    ConstraintLike,
    EmbeddingOptions,
    InitializerLike,
    RegularizerLike,
    Unpack,
)
from nblstm.layers.base.parameters import Parameter
from nblstm.layers.base.shapes import Shape


@register()
class Embedding(Layer):
    """``y = embeddings[x]``: (B, ...) whole numbers to (B, ..., output_dim).

    Parameters
    ----------
    input_dim : int
        Size of the vocabulary; entries of x are below it.
    output_dim : int
        Features of the output.
    embeddings_initializer : str, Initializer, callable or ndarray
    embeddings_regularizer : str or Regularizer, optional
    embeddings_constraint : str or callable, optional
    mask_zero : bool, default False
        Whether 0 is padding, which the layers behind are to skip.
    weights : ndarray or list of one ndarray, optional
        Initial embeddings, shape (input_dim, output_dim).
    input_length : int, optional
        Keras 2's: short for ``input_shape=(input_length,)``.
    **kwargs
        Of `Layer`.

    Notes
    -----
    The parameter is ``embeddings`` (input_dim, output_dim). The gradient of the input is None.
    """

    unsaved = ("input_shape", "input_length", "weights")
    keeps_steps_apart = True

    def __init__(
        self, input_dim: int, output_dim: int, embeddings_initializer: InitializerLike = "uniform",
        embeddings_regularizer: RegularizerLike = None, embeddings_constraint: ConstraintLike = None,
        mask_zero: bool = False, weights=None, input_length: int | None = None, **kwargs: Unpack[EmbeddingOptions],
    ):  # fmt: skip
        self.input_dim = validate.positive_integer("input_dim", input_dim)
        self.output_dim = validate.positive_integer("output_dim", output_dim)
        if input_length is not None and not {"input_shape", "batch_input_shape"} & kwargs.keys():
            kwargs["input_shape"] = (validate.positive_integer("input_length", input_length),)
        super().__init__(**kwargs)
        if input_length is not None and (self.batch_input_shape or ())[1:] != (input_length,):
            raise ValueError(f"input_length is {input_length} and the input's shape {self.batch_input_shape}; give one")
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = self.supports_masking = self.makes_masks = validate.flag("mask_zero", mask_zero)
        if weights is not None:
            self.build(self.batch_input_shape or (None, None))
            self.set_weights(weights if isinstance(weights, list | tuple) else [weights])

    def _output_shape(self, shape: Shape) -> Shape:
        return (*shape, self.output_dim)

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        return {
            "embeddings": Parameter(
                (self.input_dim, self.output_dim), self.embeddings_initializer, self.embeddings_regularizer,
                self.embeddings_constraint,
            )
        }  # fmt: skip

    def _converted(self, x) -> np.ndarray:
        """``x`` as an array of int64 in [0, input_dim)."""
        array, end = validate.number_array("x", x), self.input_dim
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int64, copy=False)
        wrong = (array < 0) | (array >= end) | (whole != array)
        if wrong.any():
            raise ValueError(
                f"x contains {array[wrong][0]}; {self._label} has input_dim {end}, so give whole numbers from 0 to "
                f"{end - 1}"
            )
        return whole

    def compute_mask(self, x, mask=None) -> np.ndarray | None:
        """True where ``x`` is not 0, if ``mask_zero``; else None."""
        return np.not_equal(x, 0) if self.mask_zero else None

    def _forward(self, x, training, mask, generator):
        return self._own["embeddings"][x], x

    def _backward(self, saved, dy, gradients, input_gradient):
        """Row v is the sum of dy where x is v: ``np.add.at(gradients, x, dy)``, as a product with a sparse matrix.

        For 3,200 vectors of 32 it takes 0.06 ms, `numpy.add.at` 0.9 ms (one core).
        """
        from scipy.sparse import csc_matrix  # an import of 0.1 s, which only this needs

        N = saved.size
        chosen = csc_matrix((np.ones(N, dy.dtype), saved.ravel(), np.arange(N + 1)), shape=(self.input_dim, N))
        gradients["embeddings"][...] = chosen @ dy.reshape(N, self.output_dim)
        return
