"""Gradients of the parameters for each sequence of a batch: the products over packed rows, sequence by sequence.

After the loop over time, dz has the gradients of the pre-activations of all sequences. For sequence b

    dW_ih[b]  =  dz[rows of b]^T x[rows of b]

and likewise for the others. In a batch of equal lengths the rows of b lie B rows apart, and the kernel walks in such
strides; rows of others are first gathered, sequence by sequence, those of all its pieces where it has resets.
"""

from __future__ import annotations

import numpy as np

from nblstm.buffers.batch import Batch
from nblstm.buffers.each_step import Samples
from nblstm.cpu.arguments import GradientArguments, Launch, address
from nblstm.cpu.kernels.gather import gather_rows


def sample_gradients(
    whole: GradientArguments, parts: int, batch: Batch, row: int, arrays: dict[str, np.ndarray],
    samples: Samples, places: dict[str, int | None],
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
    samples : Samples
        Gradients of all parameters, which are added to.
    places : dict of str to int or None
        Where among them the gradient of each field begins; None for no such.
    """
    rows, first = len(arrays["dz"]), int(batch.offset.searchsorted(row, side="right")) - 1
    if batch.uniform and samples.apart:
        B = int(batch.active[first])
        target, counts, starts, apart = samples.sequence, np.full(B, rows // B), np.arange(B), B
    else:
        place = np.arange(row, row + rows)
        place -= batch.offset[np.searchsorted(batch.offset, place, side="right") - 1]
        sequence = samples.sequence[place]
        target, counts = np.unique(sequence, return_counts=True)
        starts, apart, order = counts.cumsum() - counts, 1, sequence.argsort(kind="stable")
        arrays = {name: gather_rows(array, order) for name, array in arrays.items()}
    made, held = Launch(GradientArguments, len(target)), dict(whole.held)
    columns = made.columns()
    for field, column in columns.items():
        column[:] = getattr(whole, field)
    for name, array in arrays.items():
        step, held[name] = array.strides[0], array
        columns[name][:] = address(array) + starts * step
        columns[f"{name}_row"][:] = apart * step // array.itemsize
    for name, value in {"rows": counts, "accumulate": 1, "parts": parts, "weight_parts": parts}.items():
        columns[name][:] = value
    flat = samples.flat
    for field, start in places.items():
        if start is not None:
            columns[field][:], held[field] = (
                address(flat) + target * flat.strides[0] + start * flat.itemsize,
                flat,
            )
    for record in made:
        record.held = held
    return made
