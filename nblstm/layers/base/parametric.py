"""What a layer's parameters are, and the part of a layer that owns them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.layout import Layout
from nblstm.layers.base import shapes
from nblstm.layers.base.shapes import Shape
from nblstm.layers.initializers import Initializer
from nblstm.layers.regularizers import Regularizer
from nblstm.nn import Gradients, Module
from nblstm.nn.module import allocated
from nblstm.process import locks

#: In the place of a generator: no initial values are drawn, since others follow. A QR for LSTM(2048) takes seconds.
UNDRAWN: Any = object()


@dataclass(frozen=True)
class Parameter:
    """What a layer says of one of its parameters; a ``transposed`` matrix lies in memory column by column."""

    shape: tuple[int, ...]
    initializer: Initializer
    regularizer: Regularizer | None = None
    constraint: Callable[[np.ndarray], np.ndarray] | None = None
    transposed: bool = False


def layout_of(parameters: dict[str, Parameter]) -> Layout:
    """Where parameters live in one buffer."""
    shapes_by_name = {name: p.shape for name, p in parameters.items()}
    return Layout.of(shapes_by_name, [name for name, p in parameters.items() if p.transposed])


class Parametric(Module):
    """Parameters in one flat buffer, made when the shape of the input is known.

    A subclass gives ``_parameters_for``, and what it needs of shapes: ``_output_shape``, ``ndim``, ``min_ndim`` and
    ``fixed_axes``.

    Attributes
    ----------
    name : str
    trainable : bool
        Whether training changes the parameters.
    input_shape : tuple or None
        The shape, batch included, for which the parameters were made; None before that.
    """

    ndim: int | None = None
    min_ndim: int = 1
    fixed_axes: tuple[int, ...] = ()  # whose sizes must stay as they were when the parameters were made

    def __init__(self, name: str, trainable: bool, dtype: str):
        self.name, self.trainable = name, trainable
        self.input_shape: Shape | None = None
        self._parameters: dict[str, Parameter] = {}
        self._build_lock = locks.lock()
        self._hold(Layout.of({}), np.empty(0, dtype))

    def _hold(self, layout: Layout, flat: np.ndarray) -> None:
        super().__init__(layout, flat)

    def _output_shape(self, shape: Shape) -> Shape:
        """The output's shape; raises ValueError if the input's does not fit."""
        return shape

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        """The parameters, under Keras's names and in Keras's order, for a shape that has been checked."""
        return {}

    @property
    def built(self) -> bool:
        """Whether the parameters have been made."""
        return self.input_shape is not None

    def build(self, input_shape, generator: np.random.Generator | None = None) -> None:
        """Make the parameters; called once more, check that they fit the new shape, and take note of it.

        Parameters
        ----------
        input_shape : tuple of int or None
            With the batch dimension first.
        generator : Generator, optional
            Source of the initial values, unless an initializer has a seed of its own. `UNDRAWN` leaves all of them 0.

        Raises
        ------
        TypeError, ValueError
            If the shape does not fit the layer, or the parameters that it has already.
        """
        shape, parameters = self._described(input_shape)
        layout = layout_of(parameters)
        with self._build_lock:
            if not self.built:
                self._hold(layout, self._initial(layout, parameters, generator))
                self._parameters = parameters
            elif layout.shapes != self._layout.shapes:
                raise ValueError(
                    f"{self._label} was built for inputs of shape {self.input_shape} and came upon {shape}; "
                    "make another layer for them"
                )
            self.input_shape = shape

    def unbuild(self) -> None:
        """Take the parameters away, as if `build` had not been called."""
        self._hold(Layout.of({}), np.empty(0, self.dtype))
        self._parameters, self.input_shape = {}, None

    def parameter_shapes(self, input_shape) -> dict[str, tuple[int, ...]]:
        """The shapes that the parameters have for inputs of a shape; makes none.

        Raises
        ------
        TypeError, ValueError
            If the shape does not fit the layer.
        """
        return {name: p.shape for name, p in self._described(input_shape)[1].items()}

    def _described(self, input_shape) -> tuple[Shape, dict[str, Parameter]]:
        shape = shapes.batch_shape("input_shape", input_shape)
        self._check_ndim(shape)
        for axis in self.fixed_axes:
            if not shape[axis]:
                raise ValueError(
                    f"{self._label} has input_shape {shape}; give a size of 1 or more in dimension {axis}, which "
                    "its parameters depend on"
                )
        self._output_shape(shape)
        return shape, self._parameters_for(shape)

    def _initial(self, layout: Layout, parameters: dict[str, Parameter], generator) -> np.ndarray:
        if generator is UNDRAWN:
            return allocated(layout, lambda: np.zeros(layout.size, self.dtype))
        flat = allocated(layout, lambda: np.empty(layout.size, self.dtype))
        for name, view in layout.views(flat).items():
            values = parameters[name].initializer(view.shape, self.dtype, generator)
            view[...] = validate.shaped(f"the initial {name!r}", values, view.shape, f"that of {self._label}")
            constraint = parameters[name].constraint
            if constraint is not None:  # tried here, so that it does not fail behind the first step of training
                given = np.asarray(constraint(view.copy()))
                validate.shaped(f"what the constraint of {name!r} gives", given, view.shape, "that of the parameter")
        return flat

    def count_params(self) -> int:
        """Number of parameters' entries.

        Raises
        ------
        ValueError
            If the layer is not built.
        """
        self._need_built()
        return self._layout.size

    @property
    def weights(self) -> list[np.ndarray]:
        """Views of the parameters in Keras's order; see `parameters`."""
        return list(self.parameters().values())

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the parameters, in Keras's order and shapes."""
        return list(self.state_dict().values())

    def set_weights(self, weights) -> None:
        """Set the parameters from what `get_weights` gives, here or in Keras.

        Raises
        ------
        TypeError, ValueError
            If number or shapes do not fit, or the layer is not built; then nothing has been changed.
        """
        self._need_built()
        names = list(self._layout.shapes)
        if not isinstance(weights, list | tuple) or len(weights) != len(names):
            listed = ", ".join(names) or "it is empty"
            raise ValueError(f"{self._label} got {validate.came(weights)}; give a list of {len(names)}: {listed}")
        self.load_state_dict(dict(zip(names, weights, strict=True)))

    @property
    def described(self) -> dict[str, Parameter]:
        """What the parameters are, by name; empty before `build`."""
        return self._parameters

    @np.errstate(under="ignore")
    def regularization_loss(self) -> float:
        """The sum of the parameters' penalties; 0 if the layer is not trainable."""
        pairs = ((p.regularizer, self._own[name]) for name, p in self._parameters.items())
        return sum((penalty(w) for penalty, w in pairs if penalty is not None), 0.0) if self.trainable else 0.0

    @np.errstate(under="ignore")
    def add_regularization_gradient(self, gradients: Gradients) -> None:
        """Add the penalties' gradient to ``gradients``, in place; nothing if the layer is not trainable."""
        for name, p in self._parameters.items():
            if p.regularizer is not None and self.trainable:
                gradients.params[name] += p.regularizer.gradient(self._own[name])

    @np.errstate(under="ignore")
    def apply_constraints(self) -> None:
        """Project the parameters that have a constraint; to be called after each update."""
        with self._lock:
            for name, p in self._parameters.items():
                if p.constraint is not None:
                    self.forget()
                    self._own[name][...] = p.constraint(self._own[name])
                    self.forget()

    @property
    def _label(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    def _need_built(self) -> None:
        if not self.built:
            raise ValueError(f"{self._label} is not built; call build(input_shape), or apply it to data first")

    def _check_ndim(self, shape: tuple) -> None:
        if self.ndim is not None and len(shape) != self.ndim:
            raise ValueError(f"{self._label} got shape {tuple(shape)}; it needs {self.ndim} dimensions, batch included")
        if len(shape) < self.min_ndim:
            raise ValueError(
                f"{self._label} got shape {tuple(shape)}; it needs {self.min_ndim} dimensions or more, batch included"
            )
