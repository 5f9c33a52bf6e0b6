"""The base class of layers: a subclass adds its equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np

from nblstm.arguments import signatures, validate
from nblstm.arguments.configured import Configured, constructor_arguments
from nblstm.buffers import memory
from nblstm.layers.base import shapes
from nblstm.layers.base.names import automatic_name
from nblstm.layers.base.options import DTypeLike, ShapeLike
from nblstm.layers.base.parametric import UNDRAWN, Parametric
from nblstm.layers.base.registry import Registry
from nblstm.layers.base.shapes import Shape
from nblstm.nn import Gradients
from nblstm.process.show import warn

LAYERS = Registry("layer", by="nblstm.layers.register")
register = LAYERS.register


Same = TypeVar("Same", bound="Layer")


@dataclass(slots=True, eq=False)
class Tape:
    """What `Layer.backward` needs of a forward pass; it can be used any number of times.

    It refers to the input and output of that pass: write to neither before the last use.
    """

    layer: Layer
    y_shape: tuple[int, ...]
    saved: Any


class Layer(Configured, Parametric):
    """A function of arrays, with parameters in one flat buffer, made when the shape of its input is known.

    A subclass gives ``_forward`` and ``_backward``, and where they differ from the defaults ``_output_shape`` (that
    of the input) and ``_parameters_for`` (none). It is to keep each argument of its constructor under the
    argument's name, as `get_config` reads them there, and is registered with ``@register()`` to be loaded again.

    Parameters
    ----------
    name : str, optional
        Made from the class's name if not given: dense, dense_1, ...
    trainable : bool, default True
        Whether training changes the parameters.
    input_shape : tuple, optional
        Shape of an input without the batch; None where unknown. For a model's first layer.
    batch_input_shape : tuple, optional
        The same with the batch.
    input_dim : int, optional
        Short for ``input_shape=(input_dim,)``.
    dtype : {"float32", "float64"}, default "float32"

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or not as described.

    Attributes
    ----------
    input_shape : tuple or None
        The shape, batch included, for which the parameters were made; None before that.
    batch_input_shape : tuple or None
        As given.
    generator : Generator or None
        The layer's own source of randomness, if it was given a seed; its state belongs into a checkpoint.
    """

    unsaved: tuple[str, ...] = ("input_shape", "input_dim")  # batch_input_shape says the same
    supports_masking = False
    #: Whether `compute_mask` gives a mask where the input has none.
    makes_masks: bool = False
    #: Whether the output at a step of (B, T, ...) depends on that step alone, or in a recurrent layer on those before.
    keeps_steps_apart: bool = False
    generator: np.random.Generator | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse methods that cannot be called as they will be, such as Keras's `build` of one argument."""
        super().__init_subclass__(**options)
        signatures.overridden(cls, Layer, "build", "_forward", "_backward")

    def __init__(
        self, *, name: str | None = None, trainable: bool = True, input_shape: ShapeLike = None,
        batch_input_shape: ShapeLike = None, input_dim: int | None = None, dtype: DTypeLike = None, **unknown: NoReturn,
    ):  # fmt: skip
        kind = type(self).__name__
        if unknown:
            signatures.refuse(type(self), next(iter(unknown)), constructor_arguments(type(self)))
        if name is not None and not (isinstance(name, str) and name):
            raise TypeError(f"name is {name!r}; give a string that is not empty, or None")
        if sum(given is not None for given in (input_shape, batch_input_shape, input_dim)) > 1:
            raise ValueError(f"{kind} got its input's shape twice; give input_shape, batch_input_shape or input_dim")
        if input_dim is not None:
            input_shape = (validate.positive_integer("input_dim", input_dim),)
        if input_shape is not None:
            batch_input_shape = (None, *shapes.dimensions("input_shape", input_shape))
        if batch_input_shape is not None:
            batch_input_shape = shapes.batch_shape("batch_input_shape", batch_input_shape)
        self.batch_input_shape: Shape | None = batch_input_shape
        dtype = validate.dtype_name("float32" if dtype is None else dtype)
        super().__init__(name or automatic_name(kind), validate.flag("trainable", trainable), dtype)

    def __reduce__(self):
        """For copies and pickle: the arguments as they are, parameters, states and the random state."""
        mine = self.input_shape, self.state_dict(), getattr(self, "states", None), self.generator
        return _restored, (type(self), self._objects(), *mine)

    def _objects(self) -> dict[str, Any]:
        """What `from_config` makes the layer of without a look at names; layers in it are not built.

        A class that writes a config of its own has said there what it is.
        """
        if type(self).get_config is not Configured.get_config:
            return self.get_config()
        given = self._arguments()
        return {name: value.unbuilt() if isinstance(value, Layer) else value for name, value in given.items()}

    def unbuilt(self: Same, **changes) -> Same:
        """A layer of the same arguments but for some, without parameters; the arguments themselves are shared."""
        return type(self).from_config(self._objects() | changes)

    def __repr__(self):
        return f"<{type(self).__name__} {self.name}: {self.input_shape} -> {self.output_shape}>"

    def _forward(self, x: np.ndarray, training: bool, mask, generator) -> tuple[np.ndarray, Any]:
        """The output, and what `_backward` needs; parameters are in ``self._own``."""
        raise NotImplementedError(f"{type(self).__name__} has no _forward; write it")

    def _backward(self, saved, dy, gradients: dict[str, np.ndarray], input_gradient: bool) -> np.ndarray | None:
        """Write the parameters' gradients (zeros at first); return dx, which may be None unless it is wanted."""
        raise NotImplementedError(f"{type(self).__name__} has no _backward; write it")

    def _converted(self, x) -> np.ndarray:
        """The input as an array of the dtype that the layer computes in."""
        return validate.real_array("x", x, self._flat.dtype)

    @property
    def output_shape(self) -> Shape | None:
        """The output's shape, batch included; None before `build`."""
        return None if self.input_shape is None else self._output_shape(self.input_shape)

    def compute_output_shape(self, input_shape) -> Shape:
        """The output's shape for an input of this shape.

        Parameters
        ----------
        input_shape : tuple of int or None
            With the batch dimension first; None where unknown.

        Raises
        ------
        TypeError, ValueError
            If it is no shape, or does not fit.
        """
        shape = shapes.batch_shape("input_shape", input_shape)
        self._check_ndim(shape)
        return self._output_shape(shape)

    @np.errstate(under="ignore")  # what is too small for a float is 0, whatever numpy.seterr says; 0.8 us
    def __call__(self, x, mask=None) -> np.ndarray:
        """Inference; see `forward`."""
        x = self._checked_input(x)
        if mask is not None:
            mask = checked_mask(mask, x.shape, 2 if x.ndim > 2 else 1)  # what has no steps is masked row by row
        return self._forward(x, False, mask, None)[0]

    @np.errstate(under="ignore")
    def forward(
        self, x, *, training: bool = False, mask=None, generator: np.random.Generator | None = None
    ) -> tuple[np.ndarray, Tape]:
        """Apply the layer; builds it if it is not.

        Parameters
        ----------
        x : array_like, shape (B, ...)
        training : bool, default False
            Whether what is random while training is so now.
        mask : array_like of bool, shape (B, T), optional
            False where a step is to be skipped. Layers that treat each step alone compute them all. For x (B, C), which
            has no steps, a mask (B,).
        generator : Generator, optional
            Source of randomness for layers that have no seed; a fresh one if not given.

        Returns
        -------
        y : ndarray
        tape : Tape
            For `backward`.

        Raises
        ------
        TypeError, ValueError
            If the input or the mask does not fit.
        """
        x = self._checked_input(x)
        if mask is not None:
            mask = checked_mask(mask, x.shape, 2 if x.ndim > 2 else 1)  # what has no steps is masked row by row
        y, saved = self._forward(x, training, mask, generator)
        return y, Tape(self, y.shape, saved)

    @np.errstate(under="ignore")
    def backward(
        self, tape: Tape, dy, *, input_gradient: bool = True, into: Gradients | None = None
    ) -> tuple[np.ndarray | None, Gradients | None]:  # fmt: skip
        """Gradients of the input and of the parameters.

        Parameters
        ----------
        tape : Tape
            From `forward`.
        dy : array_like
            Gradient of the loss with respect to the output, in its shape.
        input_gradient : bool, default True
            False leaves the input's gradient out, where nothing needs it.
        into : Gradients, optional
            From an earlier call, to be overwritten: training makes no new arrays in each step.

        Returns
        -------
        dx : ndarray or None
            None if not wanted, or the input is not differentiable, as an Embedding's is not.
        gradients : Gradients or None
            None if the layer has no parameters; penalties are not in it.

        Raises
        ------
        TypeError, ValueError
            If the shape does not fit, or the tape is another layer's.
        """
        self._own_tape(tape)
        dy = validate.shaped("dy", validate.real_array("dy", dy, self._flat.dtype), tape.y_shape, "that of the output")
        gradients = self._gradients(into)
        gradients.flat.fill(0)
        dx = self._backward(tape.saved, dy, gradients.params, input_gradient)
        gradients.x = dx = dx if input_gradient else None
        return dx, gradients if gradients.params else None

    def _gradients(self, into: Gradients | None) -> Gradients:
        """Where the parameters' gradients go: into new arrays, or those of an earlier pass."""
        layout, dtype = self._layout, self._flat.dtype
        if into is None:
            flat = memory.empty((layout.size,), dtype)
            return Gradients(layout.views(flat), flat)
        if into.flat.shape != (layout.size,) or into.flat.dtype != dtype:
            came = f"{into.flat.size} numbers of {into.flat.dtype}"
            raise ValueError(
                f"into has {came} and {self._label} has {layout.size} of {dtype}; give what its backward() returned"
            )
        return into

    def _own_tape(self, tape: Tape) -> None:
        if not isinstance(tape, Tape) or tape.layer is not self:
            raise ValueError(f"tape is not from the forward() of {self._label}; pass the second of its results")

    def warmup(self) -> None:
        """Compile every kernel that the layer can need, and keep them in the cache; most layers have none."""

    def compute_mask(self, x, mask=None) -> np.ndarray | None:
        """The mask of the output: that of the input, if the layer keeps steps apart.

        Warns
        -----
        UserWarning
            If there is a mask that the layer cannot pass on.
        """
        if self.supports_masking or mask is None:
            return mask
        warn(f"{self._label} does not pass on the mask of its input; what is masked counts from here on like all else")
        return None

    def _checked_input(self, x) -> np.ndarray:
        if isinstance(x, Layer):
            raise TypeError(
                f"{self._label} got the layer {x.name!r}, and no data; put both into a Sequential, there is no "
                "functional API"
            )
        x, known = self._converted(x), self.input_shape
        if known is not None and x.shape[1:] == known[1:]:
            return x
        self._check_ndim(x.shape)
        if self.input_shape is None:
            self.build((None, *x.shape[1:]))
        assert self.input_shape is not None
        for axis in self.fixed_axes:
            if x.shape[axis] != self.input_shape[axis]:
                raise ValueError(
                    f"{self._label} got x of shape {x.shape}; it was built for {self.input_shape}, so give "
                    f"{self.input_shape[axis]} in dimension {axis}"
                )
        return x


def _restored(cls: type[Layer], config, input_shape, parameters, states, generator) -> Layer:
    """What copies and pickles of a layer are made by."""
    layer = cls.from_config(config)
    if input_shape is not None:
        layer.build(input_shape, UNDRAWN)
        layer.load_state_dict(parameters)
    if states is not None:
        layer.reset_states(states)
    if layer.generator is not None:
        layer.generator.bit_generator.state = generator.bit_generator.state
    return layer


def checked_mask(mask, x_shape: tuple[int, ...], least: int = 2) -> np.ndarray:
    """``mask`` as an array of bool over the leading dimensions of ``x``, ``least`` of them or more."""
    array = validate.plain_array("mask", mask)
    if array.dtype.kind not in "biu":
        raise TypeError(f"mask has dtype {array.dtype}; give bools, True where a step counts")
    if array.ndim < least or array.shape != x_shape[: array.ndim]:
        needed = "(B, T)" if least == 2 else "(B,)"
        raise ValueError(f"mask has shape {array.shape}; x has {x_shape}, so give its leading dimensions, {needed}")
    return array.astype(bool, copy=False)
