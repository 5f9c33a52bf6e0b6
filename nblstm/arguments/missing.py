"""Errors for names that a module has not: where else they are, whether Keras has them, and the nearest one."""

from __future__ import annotations

import opcode
import sys
from importlib import import_module
from importlib.util import find_spec
from types import FrameType

_IMPORT_FROM, _EXTENDED_ARG = opcode.opmap["IMPORT_FROM"], opcode.opmap["EXTENDED_ARG"]

#: Classes of a module that are listed where none is near, if there are no more.
FEW = 12

#: Names that stand for another thing in each module of Keras's that has them.
HOMONYMS = frozenset(("serialize", "deserialize", "Identity", "backend"))


def explain_missing_names(module: str) -> None:
    """Give a module, by its name, a ``__getattr__`` that raises `missing`.

    It is set, and not defined in the module, as checkers of types would take any name for one that is there.
    """

    def explained(name: str):
        raise missing(module, name)

    vars(sys.modules[module])["__getattr__"] = explained


def missing(module: str, name: str) -> AttributeError | ImportError:
    """The error for a name that a module has not, to be raised by its ``__getattr__``.

    ``from module import name`` asks for an attribute, and replaces an AttributeError by an ImportError of its own:
    there it is an ImportError with the same text. All others, such as ``hasattr``, get an AttributeError.
    """
    frame = sys._getframe(2)  # what asks the module, behind its __getattr__
    asked_by_import = frame.f_globals.get("__name__") == "importlib._bootstrap"
    if name.startswith("_") or asked_by_import or f"{module}.{name}" in sys.modules:
        return AttributeError(f"module {module!r} has no attribute {name!r}", name=name)
    if _operation(frame) == _IMPORT_FROM:
        return ImportError(f"cannot import name {name!r} from {module!r}{_hint(module, name)}", name=module)
    # With a name and no object, Python adds no guess of its own.
    return AttributeError(f"module {module!r} has no attribute {name!r}{_hint(module, name)}", name=name)


def _operation(frame: FrameType) -> int:
    """The operation of Python's bytecode that a frame is at."""
    code, place = frame.f_code.co_code, max(frame.f_lasti, 0)
    while code[place] == _EXTENDED_ARG:  # of Python 3.10, in a file of more than 256 names
        place += 2
    return code[place]


def _hint(module: str, name: str) -> str:
    """The end of the sentence, if there is something to say."""
    import difflib  # 2 ms, which only an error needs

    from nblstm.arguments.keras_names import NAMES

    if (module, name) == ("nblstm", "keras"):
        return "; nblstm's own modules have Keras's names, so write nblstm.layers for keras.layers"
    if module == "nblstm" and find_spec(f"nblstm.{name}"):
        return f"; it is a module that is imported by its name: import nblstm.{name}"
    own = module.removeprefix("nblstm").removeprefix(".").removeprefix("training.")
    for other in NAMES if name not in HOMONYMS else ():
        if other != own and name in NAMES[other].split() and name in _names(home := f"nblstm.{other}".rstrip(".")):
            return f"; it is {home}.{name}"
    there, known = _names(module), name in NAMES.get(own, "").split()
    if known:  # a class is no substitute for a function, nor one module for another
        there = [each for each in there if own and each[0].isupper() == name[0].isupper()]
    lower = {each.lower(): each for each in reversed(there)}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    guess = f" (did you mean {lower[near[0]]!r}?)" if near else ""
    if not known:
        return guess
    if not near and name[0].isupper() and 0 < len(there) <= FEW:
        guess = f"; it has {', '.join(there)}"
    return f", which Keras has and nblstm has not{guess}"


def _names(module: str) -> list[str]:
    return [name for name in dir(import_module(module)) if not name.startswith("_")]
