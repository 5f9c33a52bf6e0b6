"""The base class of layers: a subclass adds its equations, or holds other layers."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import numpy as np

from nblstm.arguments import custom, signatures, validate
from nblstm.arguments.configured import Configured, Registry, constructor_arguments
from nblstm.buffers.layout import Layout
from nblstm.layers.base import holding, parameters, passes, penalties, shapes
from nblstm.layers.base.names import name_or_automatic
from nblstm.layers.base.options import DTypeLike, ShapeLike
from nblstm.layers.base.parameters import Parameter
from nblstm.layers.base.passes import Tape, check_tape, checked_input, checked_mask, gradients_into
from nblstm.layers.base.shapes import Shape
from nblstm.nn import Gradients, Module
from nblstm.process import locks
from nblstm.process.show import warn

Same = TypeVar("Same", bound="Layer")


class Layer(Configured, Module):
    """A function of arrays, with parameters in one flat buffer, made when the shape of its input is known.

    A subclass gives ``_forward`` and ``_backward``, and where they differ from the defaults ``_output_shape`` (that of
    the input) and ``_parameters_for`` (none). It keeps each argument of its constructor under the argument's name, for
    `get_config`, and is registered with ``@register()`` to be loaded again; in its constructor it may `hold` layers.

    Parameters
    ----------
    name : str, optional
        Made from the class's name if not given: dense, dense_1, ...
    trainable : bool, default True
        Whether training changes the parameters, those of held layers too.
    input_shape : tuple, optional
        Shape of an input without the batch; None where unknown. For a model's first layer.
    batch_input_shape : tuple, optional
        The same with the batch.
    input_dim : int, optional
        Short for ``input_shape=(input_dim,)``.
    dtype : {"float32", "float64"}, default "float32"

    Attributes
    ----------
    input_shape : tuple or None
        The shape, batch included, for which the parameters were made; None before that.
    described : dict of str to Parameter
    held_layers : dict of str to Layer
        By prefix.
    generator : Generator or None
        The layer's own source of randomness, if it was given a seed; its state belongs into a checkpoint.
    """

    unsaved: tuple[str, ...] = ("input_shape", "input_dim")  # batch_input_shape says the same
    ndim: int | None = None
    min_ndim: int = 1
    fixed_axes: tuple[int, ...] = ()  # whose sizes must stay as they were when the parameters were made
    supports_masking = False
    #: Whether `compute_mask` gives a mask where the input has none.
    makes_masks: bool = False
    #: Whether the output at a step of (B, T, ...) depends on that step alone, or in a recurrent layer on those before.
    keeps_steps_apart: bool = False
    #: Whether a batch starts with the states that the one before it ended with.
    stateful: bool = False
    generator: np.random.Generator | None = None
    #: Of training passes since the optimizer's last step, for `after_step`; None where there is nothing.
    measured: Any = None
    _held_by = ""  # the user's class that holds the layer, or one which holds it

    # Methods that are functions in modules by subject.
    trained_places = parameters.trained_places
    trainable_weights = property(parameters.trainable_weights)
    non_trainable_weights = property(parameters.non_trainable_weights)
    regularization_loss = penalties.regularization_loss
    add_regularization_gradient = penalties.add_regularization_gradient
    apply_constraints = penalties.apply_constraints

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse methods that cannot be called as they will be, such as Keras's `build` of one argument."""
        super().__init_subclass__(**options)
        signatures.overridden(cls, Layer, "build", "_forward", "_backward")

    def __init__(
        self, *, name: str | None = None, trainable: bool = True, input_shape: ShapeLike = None,
        batch_input_shape: ShapeLike = None, input_dim: int | None = None, dtype: DTypeLike = None, **unknown: NoReturn,
    ):  # fmt: skip
        if unknown:
            signatures.refuse(type(self), next(iter(unknown)), constructor_arguments(type(self)))
        kind = type(self).__name__
        self.batch_input_shape = shapes.declared(kind, input_shape, batch_input_shape, input_dim)
        dtype = validate.dtype_name("float32" if dtype is None else dtype)
        self._trainable = validate.flag("trainable", trainable)
        self.input_shape: Shape | None = None
        self.described: dict[str, Parameter] = {}
        self.held_layers: dict[str, Layer] = {}
        self._users = not custom.is_nblstms(type(self))  # so that results of its methods are checked
        self._build_lock = locks.lock()
        self.name = name_or_automatic(name, kind)
        super().__init__(Layout.of({}), np.empty(0, dtype))

    def __repr__(self):
        return f"<{type(self).__name__} {self.name}: {self.input_shape} -> {self.output_shape}>"

    def __reduce__(self):
        return parameters.reduced(self)

    def unbuilt(self: Same, **changes) -> Same:
        """Make a layer of the same arguments but for some, without parameters; the arguments themselves are shared."""
        return type(self).from_config(parameters.constructor_objects(self) | changes)

    def hold(self, layer: Same, prefix: str) -> Same:
        """Make another layer, which is returned, a part of this one; for constructors, behind that of `Layer`.

        Its parameters become a piece of this layer's buffer, with ``prefix`` before their names. ``_forward`` calls its
        `forward`, and ``_backward`` its `backward` with ``into=gradients[layer]``. If its input has another shape than
        this layer's, ``_held_shape(layer, shape)`` returns it. Held layers with random numbers share the source of the
        first that has a seed.
        """
        if not isinstance(layer, Layer):
            raise TypeError(holding.no_layer(layer))
        holding.check_hold(self, layer, prefix)
        self.held_layers[prefix] = layer
        for each in holding.with_all_held(layer) if self._users else ():
            each._held_by = each._held_by or type(self).__name__
        self.stateful = self.stateful or layer.stateful
        self.generator = self.generator or layer.generator
        for each in self.held_layers.values():
            each.generator = self.generator
        return layer

    def _forward(self, x: np.ndarray, training: bool, mask, generator) -> tuple[np.ndarray, Any]:
        """Return the output, and what `_backward` needs; parameters are in ``self._own``."""
        keras = " beside call, which is Keras's and is not called here" if hasattr(self, "call") else ""
        raise NotImplementedError(f"{type(self).__name__} has no _forward{keras}; write it, and _backward")

    def _backward(self, saved, dy, gradients: dict[Any, Any], input_gradient: bool) -> np.ndarray | None:
        """Write the parameters' gradients (zeros at first); return dx, or None where that is not wanted.

        ``gradients[name]`` is an array, ``gradients[layer]`` what a held layer's `backward` takes as ``into``, and
        overwrites; a second call for that layer leaves ``into`` out, and ``gradients[layer].flat`` is added to.
        """
        raise NotImplementedError(f"{type(self).__name__} has no _backward; write it")

    def _output_shape(self, shape: Shape) -> Shape:
        """Return the output's shape; raise ValueError if the input's does not fit."""
        return shape

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        """Describe the layer's own parameters, under Keras's names and in Keras's order, for a checked shape."""
        return {}

    def _held_shape(self, layer: Layer, shape: Shape) -> Shape:
        """Return the shape of the input of a held layer; that of this layer's by default."""
        return shape

    def _converted(self, x) -> np.ndarray:
        """Return the input as an array of the dtype that the layer computes in."""
        return validate.real_array("x", x, self._flat.dtype)

    def warmup(self) -> None:
        """Compile every kernel that the layer can need, and keep them in the cache; most layers have none."""
        for layer in self.held_layers.values():
            layer.warmup()

    @property
    def trainable(self) -> bool:
        """True if training changes the parameters; a layer and those that it holds are trained together."""
        return self._trainable and (not self.held_layers or all(layer.trainable for layer in self.held_layers.values()))

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = validate.flag("trainable", value)
        for layer in self.held_layers.values():
            layer.trainable = value

    @property
    def built(self) -> bool:
        """True if the parameters have been made."""
        return self.input_shape is not None

    def build(self, input_shape, generator: np.random.Generator | None = None) -> None:
        """Make the parameters; called once more, check that they fit the new shape, and take note of it.

        Parameters
        ----------
        input_shape : tuple of int or None
        generator : Generator, optional
            Source of the initial values, unless an initializer has a seed; `UNDRAWN` leaves all of them 0.
        """
        parameters.build(self, input_shape, generator)

    def unbuild(self) -> None:
        """Take the parameters away, as if `build` had not been called."""
        for layer in self.held_layers.values():
            layer.unbuild()
        self._set_buffer(Layout.of({}), np.empty(0, self.dtype))
        self.described, self.input_shape = {}, None

    def _set_buffer(self, layout: Layout, flat: np.ndarray, buffer=None) -> None:
        super()._set_buffer(layout, flat, buffer)
        for layer, piece in holding.pieces(self, flat):
            layer._set_buffer(layer._layout, piece, self._buffer)

    def describe(self, input_shape) -> dict[str, Parameter]:
        """Describe the parameters for inputs of a shape, without making them; the shape is checked."""
        shape = parameters.checked_shape(self, input_shape)
        return holding.with_held_parameters(self, shape, self._parameters_for(shape))

    def count_params(self) -> int:
        """Return the number of parameters' entries; raises ValueError if the layer is not built."""
        self._need_built()
        return self._layout.size

    @property
    def weights(self) -> list[np.ndarray]:
        """Views of the parameters in Keras's order; see `parameters`."""
        return list(self.parameters().values())

    def after_step(self) -> None:
        """Change parameters that no gradient changes, such as moving averages, by what is `measured`.

        Optimizers call it behind a step, so that a step that fails changes nothing.
        """
        for layer in self.held_layers.values():
            layer.after_step()

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the parameters, in Keras's order and shapes."""
        return list(self.state_dict().values())

    def set_weights(self, weights) -> None:
        """Set the parameters from what `get_weights` gives, here or in Keras; if one does not fit, none is changed."""
        parameters.set_weights(self, weights)

    def reset_states(self, states=None) -> None:
        """Set the states that the next batch starts with, to the initial ones if not given."""
        holding.reset_states(self, states)

    @property
    def output_shape(self) -> Shape | None:
        """The output's shape, batch included; None before `build`."""
        return None if self.input_shape is None else self._output_shape(self.input_shape)

    def compute_output_shape(self, input_shape) -> Shape:
        """Return the output's shape for an input of this shape, with the batch first; None is an unknown size."""
        shape = shapes.batch_shape("input_shape", input_shape)
        self._check_ndim(shape)
        return self._output_shape(shape)

    @np.errstate(under="ignore")  # what is too small for a float is 0, whatever numpy.seterr says; 0.8 us
    def __call__(self, x, mask=None, *, training: bool = False) -> np.ndarray:
        """Inference, or what ``training`` makes of it; see `forward`."""
        x = checked_input(self, x)
        if mask is not None:
            mask = checked_mask(mask, x.shape, 2 if x.ndim > 2 else 1)  # what has no steps is masked row by row
        result = self._forward(x, training, mask, None)
        return passes.checked_result(self, result)[0] if self._users else result[0]

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
        mask : array_like of bool, shape (B, T), or (B,) for x (B, C), optional
            False where a step is to be skipped. Layers that treat each step alone compute them all.
        generator : Generator, optional
            Source of randomness for layers that have no seed; a fresh one if not given.

        Returns
        -------
        y : ndarray
        tape : Tape
        """
        x = checked_input(self, x)
        if mask is not None:
            mask = checked_mask(mask, x.shape, 2 if x.ndim > 2 else 1)
        result = self._forward(x, training, mask, generator)
        y, saved = passes.checked_result(self, result) if self._users else result
        return y, Tape(self, y.shape, saved, x.shape if self._users else None)

    @np.errstate(under="ignore")
    def backward(
        self, tape: Tape, dy, *, input_gradient: bool = True, into: Gradients | None = None
    ) -> tuple[np.ndarray | None, Gradients | None]:  # fmt: skip
        """Gradients of the input and of the parameters.

        Parameters
        ----------
        tape : Tape
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
        """
        check_tape(self, tape)
        dy = validate.shaped("dy", validate.real_array("dy", dy, self._flat.dtype), tape.y_shape, "that of the output")
        gradients = gradients_into(self, into)
        gradients.flat.fill(0)
        given = holding.gradients(self, gradients) if self.held_layers else gradients.params
        dx = self._backward(tape.saved, dy, given, input_gradient)
        gradients.x = dx = dx if input_gradient else None
        if self._users:
            passes.check_backward(self, tape, dx, given)
        return dx, gradients if gradients.params else None

    def compute_mask(self, x, mask=None) -> np.ndarray | None:
        """Return the mask of the output: that of the input, if the layer keeps steps apart; else None, and warn."""
        if self.supports_masking or mask is None:
            return mask
        warn(f"{self._label} does not pass on the mask of its input; what is masked counts from here on like all else")
        return None

    def _check_ndim(self, shape: tuple) -> None:
        shapes.check_ndim(self._label, shape, self.ndim, self.min_ndim)

    @property
    def _label(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    def _need_built(self) -> None:
        if not self.built:
            raise ValueError(f"{self._label} is not built; call build(input_shape), or apply it to data first")


LAYERS = Registry("layer", Layer, by="nblstm.layers.register")
register = LAYERS.register
