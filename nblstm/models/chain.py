"""Layers one behind the other: their shapes, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.layers import InputLayer, Layer
from nblstm.layers.base.passes import Tape as LayerTape
from nblstm.layers.base.shapes import Shape, batch_shape
from nblstm.models.shared import Shared
from nblstm.models.unlisted import unlisted_inputs
from nblstm.nn import Gradients


@dataclass(slots=True, eq=False)
class Tape:
    """What `Chain.backward` needs of a forward pass, and the mask of its output."""

    tapes: list[LayerTape]
    mask: np.ndarray | None


class Chain(Shared):
    """Layers one behind the other, built as soon as the shape of the input is known.

    Parameters
    ----------
    layers : iterable of Layer, optional
    generator : Generator
        Source of initial weights, and while training of the order of samples and of dropout.
    """

    def __init__(self, layers, generator: np.random.Generator):
        super().__init__()
        self.generator = generator
        self._layers: list[Layer] = []
        self._announced: InputLayer | None = None
        self._input_shape: Shape | None = None
        self._particular: tuple[list[int], list[int], list[int]] | None = None
        self._keeps_states = False
        for layer in layers or ():
            self.add(layer)

    def add(self, layer: Layer, rebuild: bool = True) -> None:
        """Put a layer behind the last one; builds it if the shape of its input is known.

        Parameters
        ----------
        layer : Layer
        rebuild : bool, default True
            False leaves building it to the first use.

        Raises
        ------
        TypeError, ValueError
            If it is no layer, its name is taken, or it does not fit; then nothing has been changed.
        """
        if isinstance(layer, Chain):
            raise TypeError(f"the layer is the model {layer.name!r}, and models are not nested; add its layers")
        if not isinstance(layer, Layer):
            raise TypeError(f"the layer is {layer!r}; give an object of nblstm.layers, such as Dense(10)")
        if isinstance(layer, InputLayer):
            if self._layers or self._announced is not None:
                raise ValueError(f"{layer.name!r} is an Input behind other layers; add it first, and only one")
            self._announced, self._input_shape = layer, layer.batch_shape
            return
        if getattr(layer, "return_state", False):
            raise ValueError(f"layer {layer.name!r} returns its states too; make it without return_state, for a model")
        if any(layer is other or layer.name == other.name for other in self._layers):
            raise ValueError(f"there is a layer named {layer.name!r} already; make another one, with another name")
        if not self._layers:
            shape = self._input_shape or layer.batch_input_shape
        else:
            _check_steps(self._layers[-1], layer)
            shape = self._output_shape() if self.built else None
        if shape is not None and rebuild:
            layer.build(shape, self.generator)
        if not self._layers:
            self._input_shape = shape
        self._layers.append(layer)
        self._changed()

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer away.

        Parameters
        ----------
        rebuild : bool, default True
            Keras's; the layers that are left stay built.

        Returns
        -------
        Layer

        Raises
        ------
        ValueError
            If there is none.
        """
        if not self._layers:
            raise ValueError("the model has no layers; add one first")
        layer = self._layers.pop()
        if not self._layers and self._announced is None:
            self._input_shape = None
        self._changed()
        return layer

    def build(self, input_shape=None, generator: np.random.Generator | None = None) -> None:
        """Make the parameters of all layers.

        Parameters
        ----------
        input_shape : tuple of int or None, optional
            With the batch dimension first; not needed where an Input or the first layer has it.
        generator : Generator, optional
            Source of the initial values; the model's own by default.

        Raises
        ------
        TypeError, ValueError
            If there are no layers, or the shape does not fit.
        """
        if not self._layers:
            raise ValueError("the model has no layers; add one first")
        shape = self._input_shape if input_shape is None else batch_shape("input_shape", input_shape)
        if shape is None:
            raise ValueError(
                "the model does not know its input's shape; call build((None, ...)), give the first layer an "
                "input_shape, or add an Input before it"
            )
        shape = at = self.check_input_shape(shape)
        for layer in self._layers:
            if layer.input_shape != at:
                layer.build(at, self.generator if generator is None else generator)
            at = layer._output_shape(at)
        self._input_shape = shape
        self._changed()

    def unbuild(self) -> None:
        """Take the parameters of all layers away, and the shape of the input, unless an Input has it."""
        for layer in self._layers:
            layer.unbuild()
        self._input_shape = self._announced.batch_shape if self._announced else None
        self._changed()

    def check_input_shape(self, shape) -> Shape:
        """The shape for which to build: what is known of it, or else ``shape``."""
        shape, known = batch_shape("input_shape", shape), self._input_shape
        if known is None:
            return shape
        if len(known) != len(shape) or not all(map(_agree, known[1:], shape[1:])):
            raise ValueError(f"the model takes {known} and input_shape is {shape}; give one that fits, or leave it out")
        return known

    def _changed(self) -> None:
        """The layers, or their parameters, are others than before."""
        self._particular = None
        self._keeps_states = any(getattr(layer, "stateful", False) for layer in self._layers)

    @property
    def particular(self) -> tuple[list[int], list[int], list[int]]:
        """Which layers have parameters, penalties of them, and constraints; the model is built."""
        if self._particular is None:
            described = [layer.described.values() for layer in self._layers]
            self._particular = (
                [k for k, found in enumerate(described) if found],
                [k for k, found in enumerate(described) if any(p.regularizer is not None for p in found)],
                [k for k, found in enumerate(described) if any(p.constraint is not None for p in found)],
            )
        return self._particular

    @property
    def layers(self) -> list[Any]:  # of Layer; a checker cannot know which one has units, states or a stepper
        """The layers without the Input, as Keras lists them."""
        return list(self._layers)

    @property
    def built(self) -> bool:
        """Whether all layers have their parameters."""
        return self._input_shape is not None and all(layer.built for layer in self._layers)

    @property
    def input_shape(self) -> Shape | None:
        """The input's shape, batch included; None before it is known."""
        return self._input_shape

    @property
    def output_shape(self) -> Shape | None:
        """The output's shape, batch included; None before the model is built."""
        return self._output_shape() if self.built and self._layers else None

    def _output_shape(self) -> Shape:
        shape: Any = self._layers[-1].output_shape
        return shape

    @property
    def dtype(self) -> str:
        """What the first layer computes in."""
        return self._layers[0].dtype if self._layers else "float32"

    def converted(self, x) -> np.ndarray:
        """``x`` as the Input wants it, of a shape that fits.

        Raises
        ------
        TypeError, ValueError
            If it does not, or there are no layers.
        """
        x = self.unlisted(x)
        x = validate.number_array("x", x) if self._announced is None else self._announced._converted(x)
        if not self._layers:
            raise ValueError("the model has no layers; add one first")
        if self._particular is None and not self.built:
            self.build((None, *x.shape[1:]))
        return x if self._fits(x) else self._fitted(x)

    def unlisted(self, x):
        """``x``, out of the list of one in which Keras's models of several inputs have theirs; raises if of several."""
        if type(x) is np.ndarray:
            return x
        ndim = len(self._input_shape) if self._input_shape else self._layers[0].ndim if self._layers else None
        return unlisted_inputs(x, ndim)

    def _fitted(self, x: np.ndarray) -> np.ndarray:
        """``x`` with a last dimension of 1 more or less, if it fits so and in no other way, as in Keras.

        Raises
        ------
        ValueError
            If it does not.
        """
        known: Any = self._input_shape
        one_sample = x.ndim + 1 == len(known) and self._fits(x[None])
        if known[-1] == 1 and self._fits(x[..., None]) and not one_sample:
            return x[..., None]
        if x.ndim == len(known) + 1 and x.shape[-1] == 1 and self._fits(x[..., 0]):
            return x[..., 0]
        fix = "; for one sample give x[None]" if one_sample else ""
        raise ValueError(f"x has shape {x.shape}; the model takes {known}, with None for any size{fix}")

    def _fits(self, x: np.ndarray) -> bool:
        """Whether x has a shape that the model takes, the number of samples aside."""
        known: Any = self._input_shape
        return x.shape[1:] == known[1:] or (x.ndim == len(known) and all(map(_agree, known[1:], x.shape[1:])))

    def check_inputs(self, x: np.ndarray) -> None:
        """Refuse inputs, such as words out of a vocabulary, that the first layer would refuse in some batch.

        What it says of the smallest and the largest entry, it says of all.
        """
        self._layers[0]._converted(np.array([x.min(), x.max()], x.dtype))

    @property
    def makes_masks(self) -> bool:
        """Whether a layer masks steps."""
        return any(layer.makes_masks for layer in self._layers)

    def reset_states(self) -> None:
        """Have all layers that are ``stateful`` begin the next batch with their initial states."""
        for layer in self._layers:
            if getattr(layer, "stateful", False):
                layer.reset_states()  # type: ignore[attr-defined]

    def inferred(self, x: np.ndarray, mask=None) -> tuple[np.ndarray, np.ndarray | None]:
        """The output without what training needs, and its mask; of all parameters as they were at one moment."""
        if not self._keeps_states:
            return self.at_one_moment(self._inferred, x, mask)
        with self._lock:  # a second pass would begin where the first has ended
            return self._inferred(x, mask)

    def _inferred(self, x: np.ndarray, mask) -> tuple[np.ndarray, np.ndarray | None]:
        for layer in self._layers:
            y = layer(x, mask=mask)
            mask = layer.compute_mask(x, mask)
            x = y
        return x, mask

    def forward(self, x: np.ndarray, *, training: bool = True, mask=None) -> tuple[np.ndarray, Tape]:
        """The output, and what `backward` needs."""
        tapes = []
        for layer in self._layers:
            y, tape = layer.forward(x, training=training, mask=mask, generator=self.generator)
            mask = layer.compute_mask(x, mask)
            tapes.append(tape)
            x = y
        return x, Tape(tapes, mask)

    def backward(
        self, tape: Tape, dy: np.ndarray, into: list[Gradients | None] | None = None
    ) -> list[Gradients | None]:  # fmt: skip
        """The gradients of each layer's parameters, None where there are none or they are not trained.

        The way back ends at the first layer that is trained: gradients of what lies before it are never computed. What
        is in ``into``, from an earlier call, is overwritten.
        """
        layers = self._layers
        into = into or [None] * len(layers)
        d: Any = dy
        gradients: list[Gradients | None] = [None] * len(layers)
        first = next((k for k in self.particular[0] if layers[k].trainable), len(layers))
        for k in range(len(layers) - 1, first - 1, -1):
            layer = layers[k]
            d, found = layer.backward(tape.tapes[k], d, input_gradient=k > first, into=into[k])
            if found is not None and layer.trainable:
                found.x, gradients[k] = None, found  # else the inputs' gradients would live on with the others
            if d is None and k > first:
                raise ValueError(f"layer {layer.name!r} has no gradient for its input; put it first")
        return gradients


def _check_steps(before: Layer, layer: Layer) -> None:
    """Refuse a layer for sequences behind a recurrent one that gives its last output alone: the usual mistake."""
    if getattr(before, "return_sequences", None) is False and 3 in (layer.ndim, layer.min_ndim):
        raise ValueError(
            f"layer {layer.name!r} needs sequences and {before.name!r} before it gives its last output alone; make "
            f"{before.name!r} with return_sequences=True"
        )


def _agree(known: int | None, came: int | None) -> bool:
    return known is None or came is None or known == came
