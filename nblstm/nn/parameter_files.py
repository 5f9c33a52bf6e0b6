"""Parameters of a module to a file and back, and what else a network is, as plain values beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nblstm import cells
from nblstm.arguments import signatures, validate
from nblstm.cells import pickling
from nblstm.cells.cell import Cell
from nblstm.files import content, tensors

if TYPE_CHECKING:
    from nblstm.nn.module import Module

#: The text of a file under which `description` is.
KEY = "nblstm"

#: Longest equations that are taken from a file: to trace and differentiate them takes a second.
LONGEST_EQUATIONS = 50_000

#: Arguments of constructors that no file has: where a network is computed, and what its first values were drawn from.
_UNSAVED = "device", "precision", "seed", "initial_bias", "forget_bias"


def save(module: Module, path) -> None:
    """Write parameters and description; see `Module.save`."""
    path = tensors.target(path)
    described = description(module)
    arrays = module.state_dict()
    if not arrays:
        raise ValueError(f"{module!r} has no parameters to be saved; a layer gets them where it is built")
    metadata = {} if described is None else {"format": "pt", KEY: json.dumps(described)}
    tensors.write(path, arrays, metadata)


def load(module: Module, path, prefix: str) -> None:
    """Set the parameters from a file; see `Module.load`."""
    text, prefix, shapes = validate.path("path", path), checked_prefix(prefix), module._layout.shapes
    if not shapes:
        raise ValueError(f"{module!r} has no parameters to be loaded; a layer gets them where it is built")

    def choose(names: list[str]) -> list[str]:
        check_names(text, names, prefix, shapes)
        return [prefix + name for name in shapes]

    arrays = tensors.read(path, choose).arrays
    try:
        module.load_state_dict({name: arrays[prefix + name] for name in shapes})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{text!r} cannot be loaded: {content.in_short(error)}") from None


def checked_prefix(prefix) -> str:
    """``prefix`` if it is a string."""
    if not isinstance(prefix, str):
        raise TypeError(f"prefix is {prefix!r} of type {type(prefix).__name__}; give a string, such as 'encoder.lstm.'")
    return prefix


def check_names(path: str, names: Iterable[str], prefix: str, needed: Iterable[str]) -> None:
    """Refuse a file that has other parameters under a prefix than those ``needed``; those of parts of it may be there.

    Names of parts have a dot behind the prefix, ``"head.weight"``; no parameter of a network has one.
    """
    known, needed = set(names), list(needed)
    under = {name.removeprefix(prefix) for name in known if name.startswith(prefix)}
    missing = [name for name in needed if name not in under]
    unknown = sorted(name for name in under.difference(needed) if "." not in name)
    if not missing and not unknown:
        return
    fitting = [other for other in prefixes(known, needed[0]) if all(other + name in known for name in needed)]
    if missing and fitting:
        raise ValueError(f"{path!r} has no such parameters under the prefix {prefix!r}; give {_choice(fitting)}")
    parts = [f"lacks {content.listed(missing)}"] * bool(missing) + [f"has {content.listed(unknown)} too"] * bool(
        unknown
    )
    raise ValueError(
        f"{path!r} {' and '.join(parts)}, under the prefix {prefix!r}; load it into a network of the same kind and "
        "sizes, or give another prefix"
    )


def prefixes(names: Iterable[str], ending: str) -> list[str]:
    """All prefixes under which there is a parameter ``ending``."""
    found = (name.removesuffix(ending) for name in names if name.endswith(ending))
    return sorted(prefix for prefix in found if not prefix or prefix.endswith("."))


def need_prefix(path: str, prefix: str, fitting: list[str], what: str) -> ValueError:
    """The error where nothing is under a prefix."""
    fix = f"give {_choice(fitting)}" if fitting else "give the file of one"
    return ValueError(f"{path!r} has no {what} under the prefix {prefix!r}; {fix}")


def _choice(fitting: list[str]) -> str:
    return "one of " * (len(fitting) > 1) + content.listed([f"prefix={prefix!r}" for prefix in fitting])


def description(module: Module) -> dict[str, Any] | None:
    """The class of a network and the arguments of its constructor, for JSON; None for a layer, which has its own.

    A class of the user's own is described as the one of `nblstm.nn` that it is based on.
    """
    cls = next(base for base in type(module).__mro__ if base.__module__.startswith("nblstm.nn."))
    if cls.__name__ == "Module":
        return None
    names = [name for name in signatures.constructor(cls).parameters if name not in _UNSAVED]
    config = {name: getattr(module, name) for name in names}
    if "layers" in config:
        config["layers"] = [description(layer) for layer in config["layers"]]
    if "cell" in config:
        config["cell"] = cell_as_data(config["cell"])
    return {"class_name": cls.__name__, "config": config}


def cell_as_data(cell: Cell) -> str | dict[str, Any]:
    """The name of one of nblstm's cells; of others the equations."""
    return cell.name if getattr(cells, cell.name, None) is cell else pickling.as_data(cell)


def cell_from_data(data) -> Cell:
    """The cell of this process that `description` had."""
    if isinstance(data, str):
        found = getattr(cells, data, None)
        if not isinstance(found, Cell):
            raise ValueError(f"there is no cell named {data!r} in nblstm.cells")
        return found
    if isinstance(data, dict):
        data = {"more": pickling.NOTHING_MORE, **data}  # files of before gates could be anything else
    content.expect("cell", data, declared=list, more=dict, equations=str, doc=str | None)
    if len(data["equations"]) > LONGEST_EQUATIONS:
        raise ValueError(
            f"its cell has equations of {len(data['equations'])} characters, more than {LONGEST_EQUATIONS}; make the "
            "network of the cell, and call its load(path)"
        )
    found = pickling.from_data(Cell, data)
    found.graph  # noqa: B018  # traced now, where the file is to blame
    return found
