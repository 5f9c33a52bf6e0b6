"""Objects that are given by name and saved as plain values: initializers, regularizers, constraints, layers."""

from __future__ import annotations

from typing import Any

from nblstm import validate


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
            raise ValueError(f"there is no {self.kind} named {validate.unknown(name, self._classes, self._shown)}")
        return self._classes[name]
