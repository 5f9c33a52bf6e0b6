"""Memory of large arrays, handed on to the next: never while anybody can still read it."""

import gc
import threading

import numpy as np
import pytest

from nblstm.buffers import memory

N = memory.LARGE
KEPT = 9 * N


@pytest.fixture
def blocks(monkeypatch):
    """No blocks yet, and room for some."""
    monkeypatch.setattr(memory, "KEPT", KEPT)
    fresh = memory._Blocks()
    monkeypatch.setattr(memory, "_blocks", fresh)
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
def test_memory_is_handed_on_when_the_last_view_is_gone(blocks, view):
    array = memory.empty((N,), "float32")
    at, held = place(array), view(array)
    del array
    gc.collect()
    other = memory.empty((N,), "float32")
    assert place(other) != at
    del held
    gc.collect()
    assert place(memory.empty((N,), "float32")) == at


def test_what_is_kept_has_about_the_size_and_a_limit(blocks):
    sizes = [N, 2 * N, 3 * N, 5 * N, 2 * KEPT]
    arrays = [memory.empty((size,), np.uint8) for size in sizes]
    for _ in sizes:
        arrays.pop(0)
        gc.collect()
        blocks.sort()
        assert blocks.nbytes == sum(block.nbytes for kept in blocks._kept.values() for block in kept) <= memory.KEPT
    assert blocks.nbytes == 0  # the last alone is more than may be kept, and all others went before it
    array = memory.empty((3 * N,), np.uint8)
    at = place(array)
    del array
    gc.collect()
    others = [memory.empty((size,), np.uint8) for size in (2 * N, 4 * N)]  # much more than is wanted, and less
    assert at not in map(place, others)
    assert place(memory.empty((3 * N - 1000,), np.uint8)) == at


def test_threads_that_lend_and_take_at_once_never_share_a_block(blocks):
    def work():
        for k in range(300):
            arrays = [memory.empty((N + 1000 * (k % 7) + d,), np.uint8) for d in range(3)]
            for d, array in enumerate(arrays):
                array[::5000] = threading.get_ident() % 251 + d
            for d, array in enumerate(arrays):
                assert (array[::5000] == threading.get_ident() % 251 + d).all()
            done.append(1)

    done = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    blocks.sort()
    assert len(done) == 1200
    assert blocks.nbytes <= memory.KEPT


class Borrower:
    pass


def test_what_was_lent_comes_back_once_and_the_last_first():
    spare, borrowers = memory.Spare(most=2), [Borrower() for _ in range(3)]
    for k, borrower in enumerate(borrowers):
        borrower.loan = spare.lend(k, borrower)
    del borrower
    assert spare.take() is None
    while borrowers:
        borrowers.pop(0)
    assert [spare.take() for _ in range(3)] == [2, 1, None]
