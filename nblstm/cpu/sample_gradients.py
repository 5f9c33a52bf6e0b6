"""Gradients of the parameters for each sequence of a batch: the products over packed rows, sequence by sequence.

After the loop over time, dz has the gradients of the pre-activations of all sequences. For sequence b

    dW_ih[b]  =  dz[rows of b]^T x[rows of b]

and likewise for the others. In a batch of equal lengths the rows of b lie B rows apart, and the kernel walks in such
strides; rows of others are first gathered, sequence by sequence.
"""

from __future__ import annotations

import numpy as np

from nblstm.buffers.batch import Batch
from nblstm.cpu.arguments import GradientArguments, Launch, address
from nblstm.cpu.kernels.gather import gather_rows


def sample_gradients(
    whole: GradientArguments, parts: int, batch: Batch, row: int, arrays: dict[str, np.ndarray],
    samples: np.ndarray, places: dict[str, int | None],
) -> Launch:  # fmt: skip
    """Arguments of the gradient kernel for each sequence that has rows in a segment.

    Parameters
    ----------
    whole : GradientArguments
        Of all sequences.
    parts : int
        Blocks of weight rows of each sequence.
    batch : Batch
    row : int
        The segment's first packed row.
    arrays : dict of str to ndarray, each (rows, K)
        The segment's packed rows of dz, x and h.
    samples : ndarray, shape (B, P)
        Gradients of all parameters, in the caller's order of sequences; they are added to.
    places : dict of str to int or None
        Where among them the gradient of each field begins; None for no such.
    """
    rows, first = len(arrays["dz"]), int(batch.offset.searchsorted(row, side="right")) - 1
    B = int(batch.active[first])
    if batch.uniform:
        counts, starts, apart = np.full(B, rows // B), np.arange(B), B
    else:
        sequence = np.arange(row, row + rows)
        steps = np.searchsorted(batch.offset, sequence, side="right") - 1
        sequence -= batch.offset[steps]
        counts, apart = np.bincount(sequence, minlength=B), 1
        starts, order = counts.cumsum() - counts, sequence.argsort(kind="stable")
        arrays = {name: gather_rows(array, order) for name, array in arrays.items()}
    made, held = Launch(GradientArguments, B), dict(whole.held)
    columns = made.columns()
    for field, column in columns.items():
        column[:] = getattr(whole, field)
    for name, array in arrays.items():
        step, held[name] = array.strides[0], array
        columns[name][:] = address(array) + starts * step
        columns[f"{name}_row"][:] = apart * step // array.itemsize
    for name, value in {"rows": counts, "accumulate": 1, "parts": parts, "weight_parts": parts}.items():
        columns[name][:] = value
    order = np.arange(B) if batch.order is None else batch.order[:B]
    for field, start in places.items():
        if start is not None:
            columns[field][:], held[field] = (
                address(samples) + order * samples.strides[0] + start * samples.itemsize,
                samples,
            )
    for record in made:
        record.held = held
    return made
