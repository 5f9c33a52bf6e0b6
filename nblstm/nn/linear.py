"""The linear layer: a read-out behind a recurrent one."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import seeds, validate
from nblstm.arguments.validate import DTypeLike
from nblstm.buffers.layout import Layout
from nblstm.engine.tape import Gradients
from nblstm.nn.module import Module, uniform
from nblstm.process import blas


class Linear(Module):
    """``y = x W^T + b`` on the last dimension, as `torch.nn.Linear`.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool, default True
    dtype : {"float32", "float64"}
    seed : int, optional
        Of the initial values, uniform in ±1 / sqrt(in_features).

    Notes
    -----
    Parameters are ``weight`` (out_features, in_features) and ``bias`` (out_features,).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ):
        self.in_features = validate.positive_integer("in_features", in_features)
        self.out_features = validate.positive_integer("out_features", out_features)
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.out_features, self.in_features)}
        self.bias = validate.flag("bias", bias)
        if self.bias:
            shapes["bias"] = (self.out_features,)
        layout, dtype = Layout.of(shapes), validate.dtype_name(dtype)
        super().__init__(layout, uniform(layout, self.in_features, seeds.generator(seed), dtype))

    def __repr__(self):
        options = ", bias=False" * ("bias" not in self._own) + f", dtype={self.dtype!r}" * (self.dtype != "float32")
        return f"Linear({self.in_features}, {self.out_features}{options})"

    def __call__(self, x) -> np.ndarray:
        """Apply the layer.

        Parameters
        ----------
        x : array_like, shape (..., in_features)

        Returns
        -------
        ndarray, shape (..., out_features)
        """
        return self.forward(x)[0]

    @np.errstate(under="ignore")
    def forward(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Apply the layer for training.

        Returns
        -------
        y : ndarray, shape (..., out_features)
        tape : ndarray, shape (..., in_features)
            For `backward`.
        """
        x = validate.real_array("x", x, self.dtype)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(f"x has shape {x.shape}; its last dimension needs the {self.in_features} in_features")
        own = self._layout.views(self._flat)
        y = blas.product(x, own["weight"].T)
        if "bias" in own:
            y += own["bias"]
        return y, x

    @np.errstate(under="ignore")
    def backward(self, tape: np.ndarray, dy) -> Gradients:
        """Gradients of the parameters and of the input.

        Parameters
        ----------
        tape : ndarray
            From `forward`.
        dy : array_like, shape (..., out_features)
            Gradient of the loss with respect to the outputs.

        Returns
        -------
        Gradients
        """
        dy = validate.real_array("dy", dy, self.dtype)
        validate.shaped("dy", dy, (*tape.shape[:-1], self.out_features), "that of y")
        flat = np.zeros(self._layout.size, self.dtype)
        params = self._layout.views(flat)
        rows = dy.reshape(-1, self.out_features)
        blas.product(rows.T, tape.reshape(-1, self.in_features), out=params["weight"])
        if "bias" in params:
            rows.sum(axis=0, out=params["bias"])
        return Gradients(params, flat, blas.product(dy, self._layout.views(self._flat)["weight"]))
