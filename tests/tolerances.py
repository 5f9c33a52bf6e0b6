"""How far results may be from the truth, by dtype and relative to the largest: no other file sets a tolerance."""

import numpy as np

#: Outputs and final states, against the oracle or torch.
OUTPUT = {"float64": 1e-12, "float32": 3e-6}

#: Gradients, against torch's: exact to rounding.
GRADIENT = {"float64": 1e-10, "float32": 3e-5}

#: Gradients, against central differences, which are themselves exact to about 1e-9.
DIFFERENCES = {"float64": 1e-7, "float32": 3e-5}

#: A loss after some steps of training.
TRACE = {"float64": 1e-8, "float32": 1e-4}

#: Outputs and states of an exported network, run in float32 by onnxruntime or onnx: absolute.
EXPORTED = 1e-5

DTYPES = ("float64", "float32")


def assert_close(actual, expected, tolerance: float) -> None:
    """Fail unless both have one shape and differ by at most ``tolerance`` times the largest entry.

    Entries of ``expected`` that are NaN are unknown, as `reference.loss_gradients` leaves them where it took
    no sample; NaN in ``actual`` fails.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    known = ~np.isnan(expected)
    if not known.any():
        assert expected.size == 0
        return
    assert np.isfinite(actual).all()
    # Few entries are known of a sampled gradient: how large the array is, the others say too.
    scale = max(np.abs(expected[known]).max(), np.abs(actual).max())
    error = np.abs(actual[known].astype(np.float64) - expected[known]).max()
    assert error <= tolerance * scale, f"off by {error:.2e}, the largest is {scale:.3g}; allowed {tolerance:.0e}"
