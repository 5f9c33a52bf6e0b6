"""Checks of hyperparameters, and objects that can say what they were made with."""

from __future__ import annotations

import inspect
import math
import numbers

#: Arguments that are no hyperparameters: a configuration leaves them out.
NOT_CONFIGURED = ("modules",)


def real(name: str, value, low: float = 0.0, high: float = math.inf, *, above: bool = False) -> float:
    """``value`` as a finite float from ``low`` to ``high``, both allowed; ``above``: ``low`` is not."""
    span = f"above {low:g}" if above else f"{low:g} or more"
    if high != math.inf:
        span += f" and at most {high:g}"
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and (value > low if above else value >= low) and value <= high):
        raise ValueError(f"{name} is {value!r}; give a number {span}")
    return float(value)


def flag(name: str, value) -> bool:
    """``value`` as a bool."""
    if value not in (True, False):
        raise TypeError(f"{name} is {value!r}; give True or False")
    return bool(value)


class Configured:
    """Keeps each argument of its constructor as the attribute of that name."""

    def get_config(self) -> dict:
        """The arguments that make another such object.

        Returns
        -------
        dict of str to number, bool, str, list, dict or None
            What JSON can hold. `get` of this object's module takes ``{"class_name": ..., "config": ...}``.

        Raises
        ------
        TypeError
            If an argument was a function of the user's own, which no file can hold.
        """
        config = {}
        for name in inspect.signature(type(self)).parameters:
            if name not in NOT_CONFIGURED:
                config[name] = self._configured(name)
        return config

    def _configured(self, name: str):
        value = getattr(self, name)
        if isinstance(value, Configured):
            return {"class_name": type(value).__name__, "config": value.get_config()}
        if callable(value):
            given = getattr(value, "__name__", type(value).__name__)
            raise TypeError(f"{name} is the function {given}, which no file can hold; give a name or a class of nblstm")
        return list(value) if isinstance(value, tuple) else value

    def __repr__(self) -> str:
        given = ((name, getattr(self, name)) for name in inspect.signature(type(self)).parameters)
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in given if n not in NOT_CONFIGURED)})"


def from_table(kind: str, identifier, table: dict[str, type], base: type):
    """The object that a user names: by a name, a class, a configuration, or by giving the object itself.

    Parameters
    ----------
    kind : str
        What an error calls it.
    identifier : str, type, dict or an instance of ``base``
        A dict has ``class_name`` and, where not all is default, ``config``.
    table : dict of str to type
    base : type

    Raises
    ------
    TypeError, ValueError
        If it names none.
    """
    if isinstance(identifier, base):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    name, config = identifier, {}
    if isinstance(identifier, dict):
        if not (set(identifier) <= {"class_name", "config"} and isinstance(identifier.get("config", {}), dict)):
            raise ValueError(f"{kind} has keys {sorted(map(str, identifier))}; give class_name, and config as a dict")
        name, config = identifier.get("class_name"), identifier.get("config", {})
    if not isinstance(name, str):
        raise TypeError(f"{kind} is {name!r}; give a name such as {next(iter(table))!r}, or a {base.__name__}")
    if name not in table:
        raise ValueError(f"{kind} is {name!r}; give one of {', '.join(table)}")
    return table[name](**config)
