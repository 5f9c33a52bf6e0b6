"""Checks of hyperparameters, and objects by name."""

from __future__ import annotations

import math
import numbers

from nblstm.arguments import custom
from nblstm.arguments.configured import made_from


def real(
    name: str, value, low: float = 0.0, high: float = math.inf, *, above: bool = False, below: bool = False
) -> float:
    """``value`` as a finite float from ``low`` to ``high``, both allowed unless ``above`` or ``below`` exclude them."""
    span = f"above {low:g}" if above else f"{low:g} or more"
    if high != math.inf:
        span += f" and {'below' if below else 'at most'} {high:g}"
    number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not (number and low <= value <= high) or (above and value == low) or (below and value == high):
        raise ValueError(f"{name} is {value!r}; give a number {span}")
    return float(value)


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
        raise TypeError(f"{kind} is {name!r}; give a name such as {next(iter(table))!r}, or an object of its class")
    lower = [known for known in table if known.islower()]  # classes are not listed beside their functions
    found = custom.named(kind, name, table, lower or None)
    made = made_from(found, config) if isinstance(found, type) else found
    if not isinstance(made, base):
        raise TypeError(f"{kind} is {name!r}, which stands for {made!r}; give an object of {base.__name__}")
    return made
