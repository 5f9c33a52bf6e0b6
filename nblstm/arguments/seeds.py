"""Seeds, and the source of randomness of what was given none."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

import numpy as np

from nblstm.arguments import validate

#: Set by `set_random_seed`: its seed, and the numbers of the generators that come from it.
_source: tuple[int, Iterator[int]] | None = None


def set_random_seed(seed: int) -> None:
    """Make what follows reproducible, as `keras.utils.set_random_seed`.

    It seeds what nblstm draws where no ``seed=`` is given (initial weights, the order of samples, dropout), Python's
    ``random`` and NumPy's ``numpy.random``.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.
    """
    global _source
    seed = validate.whole_number("seed", seed)
    if seed >= 2**32:
        raise ValueError(f"seed is {seed}; give a whole number from 0 to 2**32 - 1, which NumPy's old generator takes")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002, which programs that call this function still draw from
    _source = seed, count()


def generator(seed: int | None = None) -> np.random.Generator:
    """A new generator from a seed; without one, from what `set_random_seed` set, else from the system's entropy."""
    if seed is not None:
        return np.random.default_rng(validate.whole_number("seed", seed))
    if _source is None:
        return np.random.default_rng()
    first, numbers = _source
    return np.random.default_rng(np.random.SeedSequence(first, spawn_key=(next(numbers),)))  # as NumPy's spawn() does
