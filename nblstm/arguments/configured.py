"""Objects that are saved as the arguments of their constructors."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.arguments import custom, signatures


class Configured:
    """An object that is saved as the arguments of its constructor.

    Each argument is kept under its own name, as scikit-learn's estimators keep theirs; nothing else is saved.
    """

    #: Arguments that are not part of the config.
    unsaved: tuple[str, ...] = ()

    def __new__(cls, *args, **kwargs):
        """Make the object, unless an argument is unknown."""
        if kwargs:
            signatures.refuse_unknown(cls, kwargs)
        return super().__new__(cls)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain values, which JSON can hold; what is the user's own by its name.

        Raises
        ------
        TypeError
            If an argument has no name and no config, as a lambda, or another object that no file can hold.
        """
        return {name: self._plain(name, value) for name, value in self._arguments().items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        """The object that gave this config.

        Raises
        ------
        TypeError, ValueError
            If it does not fit, or has what no config has.
        """
        extra = [name for name in config if name in cls.unsaved]
        if extra:
            raise ValueError(
                f"the config of {cls.__name__} has {extra[0]!r}, which none has; give what get_config() gave"
            )
        try:
            return cls(**config)
        except TypeError:
            try:
                signatures.constructor(cls).bind(**config)
            except TypeError as error:
                raise TypeError(f"the config of {cls.__name__} does not fit: {error}") from None
            raise

    def record(self) -> dict[str, Any]:
        """The class's name and the config, from which the object is made again where its kind is looked up."""
        return {"class_name": class_name(type(self)), "config": self.get_config()}

    def _plain(self, name: str, value) -> Any:
        """An argument as `get_config` has it."""
        return plain(name, value)

    def _argument(self, name: str):
        """Return the argument ``name``, which its constructor kept under that name."""
        try:
            return getattr(self, name)
        except AttributeError:
            kind = type(self).__name__
            raise TypeError(
                f"{kind} has no attribute {name!r}, as its argument is named; let it keep each argument under its name"
            ) from None

    def _arguments(self) -> dict[str, Any]:
        return {name: self._argument(name) for name in constructor_arguments(type(self)) if name not in self.unsaved}

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._arguments().items())})"


def constructor_arguments(cls: type) -> list[str]:
    """Names of the constructor's arguments, followed through ``**kwargs`` into base classes.

    A catch-all of any other name passes nothing on.
    """
    names: list[str] = []
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = signatures.constructor(base).parameters.values()
        names += [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in names]
        if not any(p.kind is p.VAR_KEYWORD and p.name == "kwargs" for p in parameters):
            break
    return names


def class_name(cls: type) -> str:
    """The name under which a class is looked up: its own for one of nblstm's; see `custom.name_of` for others."""
    return cls.__name__ if custom.is_nblstms(cls) else custom.name_of(cls)


def made_from(cls: type, config: dict[str, Any]) -> Any:
    """An object of a class, by its ``from_config`` if it has one."""
    make = getattr(cls, "from_config", None)
    return cls(**config) if make is None else make(config)


def instance_from(kind: str, identifier, table: dict[str, type], base: type):
    """The object that a user gives, or stands for by a name, a class or a configuration.

    Parameters
    ----------
    kind : str
        Word for it in errors.
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
        raise TypeError(f"{kind} is {name!r}; give a name such as {next(iter(table))!r}, or an object of its class")
    lower = [known for known in table if known.islower()]  # classes are not listed beside their functions
    found = custom.named(kind, name, table, lower or None)
    made = made_from(found, config) if isinstance(found, type) else found
    if not isinstance(made, base):
        raise TypeError(f"{kind} is {name!r}, which stands for {made!r}; give an object of {base.__name__}")
    return made


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
    if hasattr(value, "get_config") and not isinstance(value, type):
        return {"class_name": class_name(type(value)), "config": value.get_config()}
    try:
        return custom.name_of(value)
    except TypeError:
        given = getattr(value, "__name__", f"an object of {type(value).__name__}")
    raise TypeError(
        f"{name} is {given}, which cannot be saved; give a function defined by its name, an object with get_config(), "
        "or one of nblstm's or its name"
    )
