"""Threads that share each time step: the loop over time for batches too small to be split by rows.

The work of a phase (a time step) is cut into parts by hidden units, and no part of a phase begins before all parts of
the phase before have ended. Every thread has a part of its own, so that its share of the weights stays in its core's
L2 cache; a part whose owner is not there (it has not woken, or lost its core) is taken by another thread after a
moment. So nothing ever waits for a thread that does not run, and results are the same whoever computed them.
"""

from __future__ import annotations

from numba import njit, types

from nblstm.codegen.atomics import atomic_add, atomic_exchange_if, atomic_load, pause
from nblstm.codegen.options import INLINE
from nblstm.codegen.pointers import offset, pointer_to

#: Rounds of waiting before another's part is taken: about 5 us, 10 times a step of H = 64.
PATIENCE = 100


def sync_size(parts: int) -> int:
    """Zeroed int64 that one job's threads need: a count and a claim for each part, each on its own cache line."""
    return 8 * (1 + parts)


def together(task):
    """The loop ``work(job, parts, part, phases)`` in which ``task(job, part, phase)`` is done for every part and phase.

    ``job.sync`` is the address of `sync_size` zeros.
    """
    integer = types.int64

    @njit(**INLINE)
    def attempt(job, done, part, phase):
        """Do a part of a phase unless somebody has claimed it."""
        claim = offset(done, 8 * (1 + part))
        if atomic_load(claim) == phase and atomic_exchange_if(claim, phase, phase + 1):
            task(job, part, phase)
            atomic_add(done, 1)
            return True
        return False

    @njit(**INLINE)
    def work(job, parts, part, phases):
        done = pointer_to(job.sync, integer)
        patience = PATIENCE
        while True:
            finished = atomic_load(done)
            phase = finished // parts
            if phase >= phases:
                return
            if not attempt(job, done, part, phase):
                waited = 0
                while waited < patience and atomic_load(done) == finished:
                    waited += 1
                    pause()
                if waited == patience:
                    # An owner who is away is not waited for twice, unless somebody is seen to work again.
                    patience = PATIENCE
                    for other in range(parts):
                        if patience != 0 and attempt(job, done, other, phase):
                            patience = 0

    return work
