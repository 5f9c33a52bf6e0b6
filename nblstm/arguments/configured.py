"""Objects that are saved as the arguments of their constructors, and registries that make them again by name."""

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
        """The object that gave this config."""
        extra = [name for name in config if name in cls.unsaved]
        if extra:
            raise ValueError(
                f"the config of {cls.__name__} has {extra[0]!r}, which none has; give what get_config() gave"
            )
        try:
            return cls(**config)
        except TypeError:
            try:
                signatures.constructor(cls).bind(**config)  # type: ignore[arg-type]  # a class is hashable
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


def plain(name: str, value) -> Any:
    """``value`` as JSON would give it back."""
    if hasattr(value, "record"):
        return value.record()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return [plain(name, entry) for entry in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(name, entry) for key, entry in value.items()}
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


class Registry:
    """Classes by name, and the objects that are given by these names.

    ``kind`` is the word for them in messages; ``base`` their class, if not all that can be called are accepted; ``by``
    the function that registers one of the user's own.
    """

    #: Keys of what `Configured.record` gives, and of what Keras gives beside them.
    _KEYS = frozenset(("class_name", "config", "module", "registered_name", "build_config"))

    def __init__(self, kind: str, base: type | None = None, by: str = custom.BY_NAME):
        self.kind, self._base, self._by = kind, base, by
        self.classes: dict[str, type] = {}
        self._names: list[str] = []  # one of each class
        self.shown: list[str] = []  # in messages: classes are not, beside names such as "mse"

    def register(self, *aliases: str):
        """Decorator of a class: it can be named by its own name and by these."""

        def add(cls):
            names = (cls.__name__, *aliases)
            if custom.is_nblstms(cls):
                self.classes |= dict.fromkeys(names, cls)
                self._names.append(next((name for name in aliases if name.islower()), cls.__name__))
                self.shown = [name for name in self._names if name.islower()] or self._names
            else:
                for name in names:
                    custom.register(name, cls, self.classes)
            return cls

        return add

    def make(self, identifier) -> Any:
        """The object of a registered name, of what `Configured.record` gave, or of a class; or the object itself."""
        name, config = identifier, {}
        if isinstance(identifier, dict):
            name, config = identifier.get("class_name"), identifier.get("config", {})
            if not (isinstance(name, str) and isinstance(config, dict) and identifier.keys() <= self._KEYS):
                came = sorted(map(str, identifier))
                raise ValueError(f"a saved {self.kind} needs 'class_name' and 'config'; it has {came}")
        if not isinstance(name, str):
            made = identifier() if isinstance(identifier, type) else identifier
            if not self._fits(made):
                raise TypeError(f"{identifier!r} is no {self.kind}; give an object or one of {', '.join(self.shown)}")
            return made
        found = custom.named(self.kind, name, self.classes, self.shown, by=self._by)
        if isinstance(found, type):
            found = found.from_config(config) if hasattr(found, "from_config") else found(**config)
        elif self._fits(found) and hasattr(found, "replace"):
            found = found.replace(**config)
        elif config and self._fits(found):
            raise TypeError(f"{name!r} is no class of a {self.kind}; give its name alone, or what get_config() gave")
        if not self._fits(found):
            needed = "a function, a class or an object" if self._base is None else f"an object of {self._base.__name__}"
            raise TypeError(f"the {self.kind} {name!r} stands for {found!r}; give {needed}")
        return found

    def _fits(self, made) -> bool:
        return callable(made) if self._base is None else isinstance(made, self._base)
