"""Automatic names of layers and models, which `clear_session` begins anew."""

from __future__ import annotations

import gc
import itertools
import re
from collections import defaultdict

from nblstm.buffers import memory, pool

_counters: defaultdict[str, itertools.count] = defaultdict(itertools.count)


def name_or_automatic(name, kind: str) -> str:
    """``name``, or for None one that Keras would make of the class ``kind``: dense, dense_1, ...; max_pooling2d."""
    if name is not None and not (isinstance(name, str) and name):
        raise TypeError(f"name is {name!r}; give a string that is not empty, or None")
    if name is not None:
        return name
    snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()
    number = next(_counters[snake])
    return f"{snake}_{number}" if number else snake


def clear_session() -> None:
    """Begin anew, as `keras.utils.clear_session`: with the first automatic names, and without models that are gone.

    Models that a program still refers to stay as they are; memory of others, and what was kept to be used again, is
    given back now.
    """
    _counters.clear()
    gc.collect()
    pool.give_back()
    memory.give_back()
