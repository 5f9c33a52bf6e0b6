"""Products on the calling thread: what they give, how many threads BLAS has meanwhile, and afterwards."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from nblstm.process import blas

RNG = np.random.default_rng(0)
SHAPES = [(3, 4), (100, 90), (2, 70, 90), (0, 5), (5, 1), (2, 3, 1), (1, 1), (1,), (1, 150), (1, 9000)]


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        if not blas_threads():
            pytest.skip("NumPy's BLAS here has no number of threads")
        yield


@pytest.mark.parametrize(
    "shape", [(3, 4), (100, 90), (2, 70, 90), (0, 5), (5, 1), (2, 3, 1), (1, 1), (1,), (1, 150), (1, 9000)]
)
def test_products(shape):
    a, b = RNG.normal(size=shape), RNG.normal(size=(shape[-1], 70))
    expected = np.einsum("...k,kn->...n", a, b)
    np.testing.assert_allclose(blas.product(a, b), expected, atol=1e-12)
    out = np.empty_like(expected)
    assert blas.product(a, b, out=out) is out
    np.testing.assert_allclose(out, expected, atol=1e-12)


def test_one_thread_inside_and_as_before_outside(two_threads, monkeypatch):
    before, seen = blas_threads(), []
    a = RNG.normal(size=(100, 100))
    monkeypatch.setattr(np, "dot", lambda *arguments, **options: seen.append(blas_threads()))
    blas.product(a, a)
    assert set(seen.pop()) == {1}
    assert blas_threads() == before
    monkeypatch.setattr(np, "dot", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        blas.product(a, a)
    assert blas_threads() == before


def test_as_before_when_several_threads_have_been_inside(two_threads):
    before, barrier = blas_threads(), threading.Barrier(3)
    a = RNG.normal(size=(60, 60))

    def multiply():
        barrier.wait(10)
        for _ in range(300):
            blas.product(a, a)

    others = [threading.Thread(target=multiply) for _ in range(2)]
    for other in others:
        other.start()
    multiply()
    for other in others:
        other.join()
    assert blas_threads() == before


def test_layers_wake_no_thread_of_blas(two_threads, monkeypatch):
    """The number of threads is asked for at each product that is large enough for several."""
    from nblstm import nn
    from nblstm.layers import Dense

    seen = []
    dot = np.dot

    def watched(a, b, **options):
        seen.append((a.size * b.shape[-1], max(blas_threads())))
        return dot(a, b, **options)

    monkeypatch.setattr(blas.np, "dot", watched)
    x = RNG.normal(size=(100, 80)).astype("float32")
    for layer in (Dense(90, input_shape=(80,)), nn.Linear(80, 90)):
        y, tape = layer.forward(x)
        layer.backward(tape, y)
    assert len(seen) == 6
    assert all(threads == 1 for size, threads in seen if size > 262_144)


def test_an_orthogonal_matrix_is_made_by_one_thread(two_threads, monkeypatch):
    from nblstm.layers import initializers

    seen, qr = [], np.linalg.qr
    monkeypatch.setattr(np.linalg, "qr", lambda a: seen.append(max(blas_threads())) or qr(a))
    q = initializers.Orthogonal(seed=0)((128, 512), "float64")
    assert seen == [1]
    np.testing.assert_allclose(q @ q.T, np.eye(128), atol=1e-12)
    monkeypatch.setattr(blas, "MANY", 100_000)
    initializers.Orthogonal(seed=0)((128, 512))
    assert seen == [1, 2]
