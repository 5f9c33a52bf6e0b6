"""Objects by name: those of the user's own, to which files refer and which they cannot hold, before nblstm's."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from nblstm.arguments import validate

#: Keras's prefix of what no package has registered; none of nblstm's own names has such a sign in it.
CUSTOM = "Custom>"

#: What registers an object under its package and name.
BY_NAME = "nblstm.utils.register_keras_serializable"

_registered: dict[str, Any] = {}
_scopes: ContextVar[tuple[dict[str, Any], ...]] = ContextVar("scopes", default=())
#: Objects by the names that the file which is made now has for them.
_written: ContextVar[dict[str, Any] | None] = ContextVar("written", default=None)


def register_keras_serializable(package: str = "Custom", name: str | None = None):
    """Decorator of a class or function: files that name it find it again, as `keras.utils.register_keras_serializable`.

    It takes layers, cells, losses, metrics, optimizers, schedules, initializers, regularizers and constraints, and the
    functions that stand for some of them. What is defined once more, as in a notebook, replaces the one before.

    Parameters
    ----------
    package : str, default "Custom"
    name : str, optional
        That of the class or function if not given. It is saved as ``"package>name"``.

    Raises
    ------
    TypeError
        If package or name is no string that is not empty, or what is decorated has no name.
    ValueError
        If another object has the name.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm.layers import Dense
    >>> from nblstm.utils import register_keras_serializable
    >>> @register_keras_serializable()
    ... def halved(w):
    ...     return w / 2
    >>> Dense(3, kernel_constraint=halved).get_config()["kernel_constraint"]
    'Custom>halved'
    """
    for argument, value in (("package", package), ("name", name)):
        if not (isinstance(value, str) and value) and not (argument == "name" and value is None):
            raise TypeError(f"{argument} is {value!r}; give a string that is not empty, as in (package='Mine')")

    def add(made):
        short = getattr(made, "__name__", getattr(made, "name", None)) if name is None else name
        if not isinstance(short, str):
            raise TypeError(
                f"{made!r} has no name of its own; give one, as in register_keras_serializable(name='mine')"
            )
        register(f"{package}>{short}", made)
        return made

    return add


def register(name: str, made, table: Iterable[str] = ()) -> None:
    """Have ``name`` stand for ``made`` in files; what is defined once more replaces the one before."""
    known = _registered.get(name)
    if name in table or (known is not None and known is not made and _origin(known) != _origin(made)):
        raise ValueError(f"{name!r} is registered already, for another object; choose another name")
    _registered[name] = made


def get_custom_objects() -> dict[str, Any]:
    """Return the registered objects by name: the dictionary itself, which may be changed."""
    return _registered


@contextmanager
def custom_object_scope(*custom_objects: dict[str, Any] | None):
    """``with custom_object_scope({"my_loss": my_loss}):`` names stand for these objects, before what is registered."""
    for given in custom_objects:
        if given is not None and not (isinstance(given, dict) and all(isinstance(name, str) for name in given)):
            raise TypeError(f"custom_objects is {given!r}; give a dict from names to objects, {{'my_loss': my_loss}}")
    token = _scopes.set((*(given for given in custom_objects if given), *_scopes.get()))
    try:
        yield
    finally:
        _scopes.reset(token)


@contextmanager
def one_file():
    """``with one_file():`` all that is described goes into one file, where no name may stand for two objects."""
    token = _written.set({} if _written.get() is None else _written.get())
    try:
        yield
    finally:
        _written.reset(token)


def found(name: str, table: Mapping[str, Any] | None = None) -> Any:
    """The object of that name: of a scope, else one of nblstm's, in ``table``, else one registered; None if none.

    A scope need not have the package, nor a program ``Custom>``. What is registered has no name of nblstm's.
    """
    for given in _scopes.get():
        for key in (name, name.rpartition(">")[2]):
            if key in given:
                return given[key]
    if table is not None and name in table:
        return table[name]
    return _registered.get(name, _registered.get(CUSTOM + name))


def named(
    kind: str, name: str, table: Mapping[str, Any], shown: Iterable[str] | None = None, *, by: str = BY_NAME
) -> Any:  # fmt: skip
    """The object of that name, or one sentence.

    ``kind`` is the sentence's word for it; of nblstm's names in ``table`` it lists those ``shown``; ``by`` registers
    objects of the user's own.
    """
    made = found(name, table)
    if made is not None:
        return made
    short = name.rpartition(">")[2]
    if is_name(name):
        raise ValueError(
            f"there is no {kind} named {name!r}; it is of your own, so register it by {by} before, or give "
            f"custom_objects={{{short!r}: ...}}"
        )
    said = validate.unknown(name, [*table, *_registered], table if shown is None else shown)
    raise ValueError(f"there is no {kind} named {said}, or register your own before, by {by}")


def resolved(value, table: Mapping[str, Any] | None = None) -> Any:
    """The object that a name stands for; all else as it is."""
    made = found(value, table) if isinstance(value, str) else None
    return value if made is None else made


def name_of(made, short: str | None = None, alike: Callable[[Any, Any], bool] = operator.is_) -> str:
    """The name under which a file may refer to an object: the registered one, else its own.

    Its own is ``short``, or that of a class or of a function defined under one; TypeError if it has none. ValueError if
    the same file has the name for another object, which is not ``alike``.
    """
    name = next((name for name, known in _registered.items() if known is made), None)
    if name is None:
        if short is None and (inspect.isclass(made) or inspect.isfunction(made)):
            short = made.__name__
        if short is None or not short.isidentifier():  # that of a lambda is none
            raise TypeError(f"{made!r} has no name to be found by")
        name = CUSTOM + short
    written = _written.get()
    if written is not None and not alike(written.setdefault(name, made), made):
        raise ValueError(
            f"{written[name]!r} and {made!r} are two objects of your own with one name, {name!r}, and a file has their "
            "names alone; give each its own name"
        )
    return name


def function(value) -> Any:
    """A function, or the one that a name in a file stands for."""
    made = named("function", value, {}) if is_name(value) else resolved(value)
    if callable(made):
        return made
    if made is not value:
        raise TypeError(f"fn is {value!r}, which stands for {made!r}; give a function of y_true and y_pred")
    raise TypeError(f"fn is {value!r}; give a function of y_true and y_pred")


def is_nblstms(cls: type) -> bool:
    """Return whether a class is one of nblstm's."""
    return cls.__module__.partition(".")[0] == "nblstm"


def is_name(name) -> bool:
    """Return whether files write ``name`` for an object of the user's own."""
    return isinstance(name, str) and ">" in name


def _origin(made) -> Any:
    """Return the place where a class, a function or a cell was defined; for another object, its class's."""
    if not hasattr(made, "__qualname__"):
        made = getattr(made, "place", type(made))
    return made if isinstance(made, tuple) else (made.__module__, made.__qualname__)
