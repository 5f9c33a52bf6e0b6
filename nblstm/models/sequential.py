"""Sequential: layers one behind the other, and all that a model can do."""

from __future__ import annotations

import copy
import copyreg
from typing import Any, NoReturn

import numpy as np

from nblstm.arguments import seeds, signatures, validate
from nblstm.layers import InputLayer, Layer
from nblstm.layers.base.names import name_or_automatic
from nblstm.layers.base.shapes import Shape, batch_shape
from nblstm.models import data, files, fitting, lr_finder, overview, snapshot, step
from nblstm.models.compiled import Compiled, stepper
from nblstm.models.step import Roles
from nblstm.nn import Gradients
from nblstm.process import locks
from nblstm.training.callbacks import History
from nblstm.training.objective import Objective
from nblstm.training.optimizers import Optimizer


class Sequential(signatures.KnownArguments):
    """A model of layers one behind the other, as `keras.Sequential`.

    Parameters
    ----------
    layers : iterable of Layer, optional
        More can be added by `add`. With an `Input` first, or an ``input_shape`` of the first layer, each layer is built
        when it is added; else at the first use.
    trainable : bool, default True
        False: no layer is trained.
    name : str, optional
        sequential, sequential_1, ... if not given.
    seed : int, optional
        Fixes the initial weights, the order of samples and dropout, but for layers that have a seed of their own.
        Without it, `nblstm.set_random_seed` does, if called before.

    Attributes
    ----------
    generator : Generator
        The source of all of these.
    optimizer, loss, metrics
        As given to `compile`.
    history : History
        Of the last `fit`.
    stop_training : bool
        Callbacks set it to end a `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm.layers import Dense, Input
    >>> from nblstm.models import Sequential
    >>> model = Sequential([Input((3,)), Dense(8, "relu"), Dense(1)], seed=0)
    >>> model.compile("adam", "mse")
    >>> x = np.linspace(0, 1, 60).reshape(20, 3)
    >>> history = model.fit(x, x.sum(axis=1), epochs=5, verbose=0)
    >>> len(history.history["loss"]), model.predict(x).shape
    (5, (20, 1))
    """

    # Methods that are functions in modules by subject.
    forward, backward, _infer = step.forward, step.backward, step.infer
    train_step, test_step = step.train_step, step.test_step
    compile, fit, evaluate, predict = fitting.compile, fitting.fit, fitting.evaluate, fitting.predict
    train_on_batch, test_on_batch = fitting.train_on_batch, fitting.test_on_batch
    predict_on_batch, warmup, lr_find = fitting.predict_on_batch, fitting.warmup, lr_finder.lr_find
    reset_metrics, logs = fitting.reset_metrics, fitting.logs
    get_layer, count_params, summary = overview.get_layer, overview.count_params, overview.summary
    _repr_html_ = overview.html
    get_weights, set_weights = snapshot.get_weights, snapshot.set_weights
    state, load_state = snapshot.state, snapshot.load_state
    unchanged_if_it_fails = snapshot.unchanged_if_it_fails
    get_config, to_json = files.get_config, files.to_json
    save, save_weights, load_weights = files.save, files.save_weights, files.load_weights
    need_savable = files.need_savable
    from_config = classmethod(files.from_config)
    stepper = stepper

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse steps that a fit cannot call, such as Keras's of one argument."""
        super().__init_subclass__(**options)
        signatures.overridden(cls, Sequential, "train_step", "test_step")

    def __init__(
        self, layers=None, trainable: bool = True, name: str | None = None, *, seed: int | None = None,
        **unknown: NoReturn,
    ):  # fmt: skip
        if unknown:
            signatures.refuse(type(self), next(iter(unknown)), ["layers", "trainable", "name", "seed"])
        if layers is not None and (isinstance(layers, Layer) or not np.iterable(layers)):
            raise TypeError(f"layers is {layers!r}; give a list of layers, such as [LSTM(32), Dense(1)]")
        self.name = name_or_automatic(name, "Sequential")
        self.generator = seeds.generator(seed)
        self._layers: list[Layer] = []
        self._input: InputLayer | None = None
        self._input_shape: Shape | None = None
        self._roles: Roles | None = None
        self._stateful = False
        self.optimizer: Optimizer | None = None
        self.objective: Objective | None = None
        self._bptt_steps: int | None = None
        self._gradients: list[Gradients | None] | None = None  # of the last step, for the next one to overwrite
        self.history: History | None = None
        self.stop_training = False
        self._objective_token = [True]  # taken by whoever measures with the model's own objective, see `measured`
        self._fitting = False
        self._parameters_lock = locks.SequenceLock()
        for layer in layers or ():
            self.add(layer)
        if not validate.flag("trainable", trainable):
            self.trainable = False

    def __repr__(self):
        return f"<Sequential {self.name}: {', '.join(layer.name for layer in self._layers) or 'no layers'}>"

    def __call__(self, x, training: bool = False, mask=None) -> np.ndarray:
        """The output for one batch, with dropout if ``training``; a mask is (B, T). See `predict` for many."""
        x = data.converted(self, x)
        return self.forward(x, mask=mask)[0] if training else self._infer(x, mask)[0]

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies and pickles have too: all but the lock, what was measured, and what is made again."""
        state = {name: value for name, value in vars(self).items() if name != "_parameters_lock"}
        made_again = {"_roles": None, "_gradients": None, "_objective_token": [True]}
        return state | made_again | {"history": None, "_fitting": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._parameters_lock = locks.SequenceLock()
        vars(self).update(state)

    def __deepcopy__(self, memo: dict[int, Any]):
        made = memo[id(self)] = type(self).__new__(type(self))
        with self._parameters_lock.lock:  # between one layer and the next, others could set parameters
            made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return made

    def __copy__(self):
        """Copy the parameters too: were they shared, training one model would change the other."""
        return copy.deepcopy(self)

    def __reduce_ex__(self, protocol):
        """Return a copy of the state, since it is pickled later, when others may set parameters."""
        with self._parameters_lock.lock:
            state = copy.deepcopy(self.__getstate__(), {id(self): self})
        return copyreg.__newobj__, (type(self),), state  # as `object` has it

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
        if isinstance(layer, Sequential):
            raise TypeError(f"the layer is the model {layer.name!r}, and models are not nested; add its layers")
        if not isinstance(layer, Layer):
            raise TypeError(f"the layer is {layer!r}; give an object of nblstm.layers, such as Dense(10)")
        if isinstance(layer, InputLayer):
            if self._layers or self._input is not None:
                raise ValueError(f"{layer.name!r} is an Input behind other layers; add it first, and only one")
            self._input, self._input_shape = layer, layer.batch_shape
            return
        if getattr(layer, "return_state", False):
            raise ValueError(f"layer {layer.name!r} returns its states too; make it without return_state, for a model")
        if any(layer is other or layer.name == other.name for other in self._layers):
            raise ValueError(f"there is a layer named {layer.name!r} already; make another one, with another name")
        if not self._layers:
            shape = self._input_shape or layer.batch_input_shape
        else:
            _check_steps(self._layers[-1], layer)
            shape = self._layers[-1].output_shape if self.built else None
        if shape is not None and rebuild:
            layer.build(shape, self.generator)
        if not self._layers:
            self._input_shape = shape
        self._layers.append(layer)
        self._changed()

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer away, and return it; those that are left stay built, whatever ``rebuild`` says."""
        if not self._layers:
            raise ValueError("the model has no layers; add one first")
        layer = self._layers.pop()
        if not self._layers and self._input is None:
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
        """
        if not self._layers:
            raise ValueError("the model has no layers; add one first")
        shape = self._input_shape if input_shape is None else batch_shape("input_shape", input_shape)
        if shape is None:
            raise ValueError(
                "the model does not know its input's shape; call build((None, ...)), give the first layer an "
                "input_shape, or add an Input before it"
            )
        shape = at = data.input_shape(self, shape)
        for layer in self._layers:
            if layer.input_shape != at:
                layer.build(at, self.generator if generator is None else generator)
            at = layer._output_shape(at)
        self._input_shape = shape
        self._changed()

    def unbuild(self) -> None:
        """Take the parameters and the optimizer's state away, and the shape of the input, unless an Input has it."""
        for layer in self._layers:
            layer.unbuild()
        if self.optimizer is not None:
            self.optimizer.modules = []
        self._input_shape = self._input.batch_shape if self._input else None
        self._changed()

    def _changed(self) -> None:
        """Forget what was derived from the layers, which are others than before, or built for another shape."""
        self._roles = self._gradients = None
        self._stateful = any(layer.stateful for layer in self._layers)

    @property
    def roles(self) -> Roles:
        """Which layers have parameters, penalties of them, and constraints; the model is built."""
        if self._roles is None:
            self._roles = Roles.of(self._layers)
        return self._roles

    @property
    def layers(self) -> list[Any]:  # of Layer; a checker cannot know which one has units, states or a stepper
        """The layers without the Input, as Keras lists them."""
        return list(self._layers)

    @property
    def built(self) -> bool:
        """True if all layers have their parameters."""
        return self._input_shape is not None and all(layer.built for layer in self._layers)

    @property
    def input_shape(self) -> Shape | None:
        """The input's shape, batch included; None before it is known."""
        return self._input_shape

    @property
    def output_shape(self) -> Shape | None:
        """The output's shape, batch included; None before the model is built."""
        return self._layers[-1].output_shape if self.built and self._layers else None

    @property
    def dtype(self) -> str:
        """The dtype of the first layer."""
        return self._layers[0].dtype if self._layers else "float32"

    @property
    def makes_masks(self) -> bool:
        """True if a layer masks steps."""
        return any(layer.makes_masks for layer in self._layers)

    def reset_states(self) -> None:
        """Have all layers that are ``stateful`` begin the next batch with their initial states."""
        for layer in self._layers:
            if layer.stateful:
                layer.reset_states()

    @property
    def compiled(self) -> Compiled:
        """True after `compile`; called, ``model.compiled()``, the model for functions under `numba.njit`."""
        return Compiled(self)

    @property
    def loss(self):
        """The loss; None before `compile`."""
        return None if self.objective is None else self.objective.loss

    @property
    def metrics(self) -> list:
        """The metrics; empty before `compile`."""
        return [] if self.objective is None else [*self.objective.metrics, *self.objective.weighted_metrics]

    @property
    def metrics_names(self) -> list[str]:
        """The names of the numbers that `evaluate` returns."""
        return list(self.logs()) if self.compiled else []

    @property
    def trainable(self) -> bool:
        """True if any layer is trained; setting it sets all layers."""
        return any(layer.trainable for layer in self._layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self._layers:
            layer.trainable = validate.flag("trainable", value)

    @property
    def weights(self) -> list[np.ndarray]:
        """Views of all parameters, layer by layer; empty before the model is built."""
        return [view for layer in self._layers if layer.built for view in layer.weights]

    @property
    def trainable_weights(self) -> list[np.ndarray]:
        """Views of the parameters that training changes."""
        return [view for layer in self._layers if layer.built for view in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[np.ndarray]:
        """Views of the parameters that it does not, or not by gradients, as moving averages."""
        return [view for layer in self._layers if layer.built for view in layer.non_trainable_weights]

    variables, trainable_variables, non_trainable_variables = weights, trainable_weights, non_trainable_weights

    @classmethod
    def load(cls, filepath, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Sequential:
        """The model in a file; see `load_model`."""
        return files.read_model(Sequential, filepath, custom_objects, compile)

    def _need_built(self) -> None:
        if not (self.built and self._layers):
            raise ValueError("the model is not built; call build((None, ...)), or use it on data first")


def _check_steps(before: Layer, layer: Layer) -> None:
    """Refuse a layer for sequences behind a recurrent one that gives its last output alone: the usual mistake."""
    if getattr(before, "return_sequences", None) is False and 3 in (layer.ndim, layer.min_ndim):
        raise ValueError(
            f"layer {layer.name!r} needs sequences and {before.name!r} before it gives its last output alone; make "
            f"{before.name!r} with return_sequences=True"
        )
