"""Memory of large arrays, handed on to the next: never while anybody can still read it."""

import gc

import numpy as np
import pytest

from nblstm import memory

N = memory.LARGE
KEPT = 9 * N


@pytest.fixture
def spare(monkeypatch):
    """No blocks yet, and room for some."""
    monkeypatch.setattr(memory, "KEPT", KEPT)
    fresh = memory._Spare()
    monkeypatch.setattr(memory, "_spare", fresh)
    monkeypatch.setattr(memory._Block.__del__, "__defaults__", (fresh.keep,))
    return fresh


def place(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("shape", [(3,), (7, 40), (N + 1,), (3, N)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_arrays_are_plain_and_begin_on_a_cache_line(shape, dtype):
    array = memory.empty(shape, dtype)
    assert type(array) is np.ndarray
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.nbytes < 512 or place(array) % 64 == 0
    assert not memory.zeros(shape, dtype).any()


@pytest.mark.parametrize("view", [
    lambda a: a[5:9], lambda a: a.reshape(2, -1).T[3:], np.asarray, memoryview, lambda a: a.view(np.uint8)[::7],
])  # fmt: skip
def test_memory_is_handed_on_when_the_last_view_is_gone(spare, view):
    array = memory.empty((N,), "float32")
    at, held = place(array), view(array)
    del array
    gc.collect()
    other = memory.empty((N,), "float32")
    assert place(other) != at
    del held
    gc.collect()
    assert place(memory.empty((N,), "float32")) == at


def test_what_is_kept_has_about_the_size_and_a_limit(spare):
    sizes = [N, 2 * N, 3 * N, 5 * N, 2 * KEPT]
    arrays = [memory.empty((size,), np.uint8) for size in sizes]
    for _ in sizes:
        arrays.pop(0)
        gc.collect()
        kept = sum(block.nbytes for blocks in spare._blocks.values() for block in blocks)
        assert spare._total == kept <= memory.KEPT
    assert spare._total == 0  # the last alone is more than may be kept, and all others went before it
    array = memory.empty((3 * N,), np.uint8)
    at = place(array)
    del array
    gc.collect()
    others = [memory.empty((size,), np.uint8) for size in (2 * N, 4 * N)]  # much more than is wanted, and less
    assert at not in map(place, others)
    assert place(memory.empty((3 * N - 1000,), np.uint8)) == at
