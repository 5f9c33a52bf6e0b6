"""Sequential: layers one behind the other, and all that a model can do."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.arguments import seeds, validate
from nblstm.layers import Layer
from nblstm.layers.base.names import name_or_automatic
from nblstm.models import saving
from nblstm.models.summary import table
from nblstm.models.trainer import Trainer
from nblstm.process.show import show


class Sequential(Trainer):
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

    Raises
    ------
    TypeError, ValueError
        If a layer is none, or does not fit behind the one before.

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

    def __init__(self, layers=None, trainable: bool = True, name: str | None = None, *, seed: int | None = None):
        if layers is not None and (isinstance(layers, Layer) or not np.iterable(layers)):
            raise TypeError(f"layers is {layers!r}; give a list of layers, such as [LSTM(32), Dense(1)]")
        self.name = name_or_automatic(name, "Sequential")
        super().__init__(layers, seeds.generator(seed))
        if not validate.flag("trainable", trainable):
            self.trainable = False

    def __repr__(self):
        return f"<Sequential {self.name}: {', '.join(layer.name for layer in self._layers) or 'no layers'}>"

    def __call__(self, x, training: bool = False, mask=None) -> np.ndarray:
        """The output for one batch; see `predict` for many.

        Parameters
        ----------
        x : array_like, shape (B, ...)
        training : bool, default False
            Whether what is random while training is so now.
        mask : array_like of bool, shape (B, T), optional

        Returns
        -------
        ndarray
        """
        x = self.converted(x)
        return self.forward(x, mask=mask)[0] if training else self.inferred(x, mask)[0]

    @property
    def trainable(self) -> bool:
        """Whether any layer is trained; setting it sets all layers."""
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
        return [view for layer in self._layers if layer.built and layer.trainable for view in layer.weights]

    @property
    def non_trainable_weights(self) -> list[np.ndarray]:
        """Views of the parameters that it does not."""
        return [view for layer in self._layers if layer.built and not layer.trainable for view in layer.weights]

    variables, trainable_variables, non_trainable_variables = weights, trainable_weights, non_trainable_weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all parameters, in Keras's order and shapes."""
        return self.at_one_moment(
            lambda: [value for layer in self._layers if layer.built for value in layer.get_weights()]
        )

    def set_weights(self, weights) -> None:
        """Set all parameters from what `get_weights` gives, here or in Keras.

        Raises
        ------
        TypeError, ValueError
            If number or shapes do not fit, or the model is not built; then nothing has been changed.
        """
        self._need_built()
        names = [list(layer.described) for layer in self._layers]
        count = sum(map(len, names))
        if not isinstance(weights, list | tuple) or len(weights) != count:
            came = validate.came(weights)
            raise ValueError(f"the model has {count} parameters and weights is {came}; give a list of as many arrays")
        given = iter(weights)
        saving.set_weights(self, [dict(zip(those, given, strict=False)) for those in names])

    def count_params(self) -> int:
        """Number of parameters' entries.

        Raises
        ------
        ValueError
            If the model is not built.
        """
        self._need_built()
        return sum(layer.count_params() for layer in self._layers)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of a name or an index.

        Raises
        ------
        ValueError
            If there is none.
        """
        if (name is None) == (index is None):
            raise ValueError(f"name is {name!r} and index is {index!r}; give one of them")
        for k, layer in enumerate(self._layers):
            if layer.name == name or k == index:
                return layer
        if name is None:
            raise ValueError(f"there is no layer {index!r}; give a number from 0 to {len(self._layers) - 1}")
        raise ValueError(f"there is no layer named {validate.unknown(name, [layer.name for layer in self._layers])}")

    def summary(self, line_length: int | None = None, print_fn=None) -> None:
        """Print the layers, the shapes of their outputs and their numbers of parameters.

        Parameters
        ----------
        line_length : int, optional
            Columns of the table, if it needs no more.
        print_fn : callable, optional
            Called with the text in place of `print`, which gets another one where stdout cannot encode it.
        """
        (print_fn or show)(table(self, line_length))

    def get_config(self) -> dict[str, Any]:
        """Name, layers and the input's shape as plain values; no parameters.

        Raises
        ------
        TypeError
            If a layer has an argument that cannot be saved.
        """
        return saving.config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Sequential:
        """The model that gave this config, with new parameters.

        Parameters
        ----------
        config : dict
        custom_objects : dict of str to object, optional
            What names of your own in it stand for; see `load_model`.

        Raises
        ------
        TypeError, ValueError
            If it does not fit.
        """
        return saving.from_config(cls, config, custom_objects)

    def to_json(self, **kwargs) -> str:
        """`get_config` as JSON; ``kwargs`` are those of `json.dumps`."""
        import json

        return json.dumps({"class_name": "Sequential", "config": self.get_config()}, **kwargs)

    def save(self, filepath, overwrite: bool = True, include_optimizer: bool = True) -> None:
        """Write the model to a file, from which `load_model` makes it again.

        The file has what the model is, its parameters, its sources of randomness and, if it is compiled, loss, metrics
        and optimizer with its state. It holds no pickled object, and it takes the place of an old one in one instant:
        who is killed before that leaves the old one whole.

        Parameters
        ----------
        filepath : str or PathLike
            Such as ``"model.nblstm"``. Names that stand for other formats, such as ``.keras`` or ``.h5``, are refused.
        overwrite : bool, default True
            Whether a file that is there may be replaced.
        include_optimizer : bool, default True
            Whether loss, metrics and optimizer are saved.

        Raises
        ------
        TypeError
            If a function or an object of your own has no name, or no config, by which it could be found again.
        ValueError
            If the model is not built, or the file's name stands for another format.
        OSError
            If the file cannot be written.

        Notes
        -----
        Functions, classes and cells of your own are saved by name. Where the model is loaded, they have to be
        registered (`nblstm.utils.register_keras_serializable`, `nblstm.layers.register`, `register_cell`), or given as
        ``custom_objects``.
        """
        saving.save_model(self, filepath, overwrite, include_optimizer)

    @classmethod
    def load(cls, filepath, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Sequential:
        """The model in a file; see `load_model`."""
        return saving.load_model(filepath, custom_objects, compile)

    def save_weights(self, filepath, overwrite: bool = True) -> None:
        """Write the parameters alone to a file; see `save`."""
        saving.save_weights(self, filepath, overwrite)

    def load_weights(self, filepath) -> None:
        """Set the parameters from a file that `save_weights` or `save` wrote; raises as `load_model` does.

        If they are not those of these layers, nothing has been changed.
        """
        saving.load_weights(self, filepath)

    def need_savable(self) -> None:
        """Raise what `save` would, but for its path: before a long fit, not behind it."""
        saving.config(self)
        saving.compiled_with(self)

    def state(self) -> dict[str, Any]:
        """All that training changes, for a later `load_state`.

        Returns
        -------
        dict
            Parameters, sources of randomness, the optimizer's state, and what was measured in the epoch so far.

        Raises
        ------
        RuntimeError, ValueError
            If the model is not compiled, or not built.
        """
        self._need_compiled("state")
        self._need_built()
        return self.at_one_moment(lambda: saving.training_state(self))

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`: training gives the same bits as it would have given there.

        Raises
        ------
        RuntimeError, ValueError
            If the model is not compiled, or the state is not of the same layers and optimizer; then nothing has been
            changed.
        """
        self._need_compiled("load_state")
        with self.unchanged_if_it_fails() as set_state:
            set_state(state)

    def unchanged_if_it_fails(self):
        """``with model.unchanged_if_it_fails() as set_state:`` if that raises, the model has its `state` from before.

        ``set_state(state)`` is `load_state` within it.
        """
        return saving.unchanged_if_it_fails(self)

    def _need_built(self) -> None:
        if not (self.built and self._layers):
            raise ValueError("the model is not built; call build((None, ...)), or use it on data first")
