"""Objects that are given by name and saved as plain values: initializers, regularizers, constraints, layers."""

from __future__ import annotations

from typing import Any

from nblstm.arguments import custom
from nblstm.arguments.configured import made_from


class Registry:
    """Classes by name.

    Parameters
    ----------
    kind : str
        What they are, for messages.
    by : str, optional
        What registers one of the user's own.
    """

    def __init__(self, kind: str, by: str = custom.BY_NAME):
        self.kind, self._by = kind, by
        self._classes: dict[str, type] = {}
        self._shown: list[str] = []  # one name of each, for messages

    def register(self, *aliases: str):
        """Decorator of a class: it can be named by its own name and by these.

        Raises
        ------
        ValueError
            If a name is taken. A class that is defined once more replaces the one before.
        """

        def add(cls):
            names = (cls.__name__, *aliases)
            if custom.is_nblstms(cls):
                self._classes |= dict.fromkeys(names, cls)
                self._shown.append(next((name for name in aliases if name.islower()), cls.__name__))
            else:
                for name in names:
                    custom.register(name, cls, self._classes)
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
            found = self._found(identifier)
            return made_from(found, {}) if isinstance(found, type) else found
        if isinstance(identifier, dict):
            name, config = identifier.get("class_name"), identifier.get("config", {})
            if not isinstance(name, str) or not isinstance(config, dict):
                raise ValueError(f"a saved {self.kind} needs 'class_name' and 'config'; it has {sorted(identifier)}")
            found = self._found(name)
            if not isinstance(found, type):
                raise TypeError(
                    f"{name!r} is no class of a {self.kind}; give its name alone, or what get_config() gave"
                )
            return made_from(found, config)
        if isinstance(identifier, type):
            return identifier()
        if callable(identifier):
            return identifier
        raise TypeError(f"{identifier!r} is no {self.kind}; give an object or one of {', '.join(self._shown)}")

    def _found(self, name: str) -> Any:
        """The class of a name, or an object of the user's own."""
        found = custom.named(self.kind, name, self._classes, self._shown, by=self._by)
        if not callable(found):
            raise TypeError(f"the {self.kind} {name!r} stands for {found!r}; give a function, a class or an object")
        return found
