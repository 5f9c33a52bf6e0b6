"""Objects that are given by name and saved as plain values: initializers, regularizers, constraints, layers."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np


class Configured:
    """An object that is saved as the arguments of its constructor.

    Each argument is kept under its own name, as scikit-learn's estimators keep theirs; nothing else is saved.
    """

    #: Arguments that are not part of the config.
    unsaved: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain values, which JSON can hold."""
        names = [name for name in constructor_arguments(type(self)) if name not in self.unsaved]
        return {name: plain(name, getattr(self, name)) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        """The object that gave this config."""
        return cls(**config)

    def record(self) -> dict[str, Any]:
        """The class's name and the config, as `Registry.make` reads them."""
        return {"class_name": type(self).__name__, "config": self.get_config()}

    def __repr__(self):
        config = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({config})"


def constructor_arguments(cls: type) -> list[str]:
    """Names of the constructor's arguments, followed through ``**kwargs`` into base classes.

    A catch-all of any other name passes nothing on.
    """
    names: list[str] = []
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in names]
        if not any(p.kind is p.VAR_KEYWORD and p.name == "kwargs" for p in parameters):
            break
    return names


def plain(name: str, value) -> Any:
    """``value`` as JSON would give it back."""
    if hasattr(value, "record"):
        return value.record()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return [plain(name, entry) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{name} is of type {type(value).__name__}, which cannot be saved; give one of nblstm's objects or its name"
    )


class Registry:
    """Classes by name.

    Parameters
    ----------
    kind : str
        What they are, for messages.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._classes: dict[str, type] = {}
        self._shown: list[str] = []  # one name of each, for messages

    def register(self, *aliases: str):
        """Decorator of a class: it can be named by its own name and by these.

        Raises
        ------
        ValueError
            If a name is taken.
        """

        def add(cls):
            for name in (cls.__name__, *aliases):
                if name in self._classes:
                    raise ValueError(f"a {self.kind} named {name!r} is registered already; choose another name")
                self._classes[name] = cls
            self._shown.append(next((name for name in aliases if name.islower()), cls.__name__))
            return cls

        return add

    def make(self, identifier) -> Any:
        """The object that is meant.

        Parameters
        ----------
        identifier : str, dict, class or object
            A registered name, what `Configured.record` gave, a class to be called without arguments, or the
            object itself, which is any that can be called.

        Raises
        ------
        TypeError, ValueError
            If it is none of these.
        """
        if isinstance(identifier, str):
            return self._class(identifier)()
        if isinstance(identifier, dict):
            name, config = identifier.get("class_name"), identifier.get("config", {})
            if not isinstance(name, str) or not isinstance(config, dict):
                raise ValueError(f"a saved {self.kind} needs 'class_name' and 'config'; it has {sorted(identifier)}")
            return self._class(name).from_config(config)  # type: ignore[attr-defined]
        if isinstance(identifier, type):
            return identifier()
        if callable(identifier):
            return identifier
        raise TypeError(f"{identifier!r} is no {self.kind}; give an object or one of {', '.join(self._shown)}")

    def _class(self, name: str) -> type:
        if name not in self._classes:
            raise ValueError(f"there is no {self.kind} named {name!r}; give one of {', '.join(self._shown)}")
        return self._classes[name]
