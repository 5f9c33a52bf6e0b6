"""Kernels with which all others are launched: all parts on the calling thread, or parts taken by several threads.

The threads meet in memory that they share, by atomic operations on its cells; see `nblstm.cpu.threads`.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import (
    atomic_add,
    atomic_exchange_if,
    atomic_load,
    atomic_store,
    call,
    local,
    offset,
    pause,
    pointer_to,
)
from nblstm.codegen.target import inlined
from nblstm.cpu import thresholds

# Shared memory of the workers, int64 by index. What threads change lies on cache lines of its own, so that they do not
# slow each other.
OPEN = 0  # number of the launch that is under way, 0 for none, -1 for the end of all workers
INSIDE = 8  # workers that are taking parts
NEXT = 16  # the next part to be taken
KERNEL, ARGUMENTS, PARTS, LAUNCH = 24, 25, 26, 27  # of the last launch, and its number
BUSY = 32  # 1 while a Python thread has the workers
LEFT = 40  # workers that have ended
COUNT = 48  # how many workers there are; never changed, as these functions of the C library
READ, WRITE, GIVE_WAY = 49, 50, 51
WORKERS, LINE = 56, 8  # the first worker's line; numbers of a line

# A worker's line.
ASLEEP = 0  # 1 while it sleeps on its pipe
READ_END, WRITE_END, SHARED = 1, 2, 3  # never changed: the pipe, and the address of the shared memory
RECEIVED = 7  # where it reads the byte that wakes it


@cache
def _shared():
    """Functions that the kernels below have in common: run all parts, take parts beside others, wake the workers."""

    @inlined
    def run_all(kernel, arguments, parts):
        for part in range(parts):
            call(kernel, (arguments, part))

    @inlined
    def take_parts(shared):
        """Take parts of the open launch, one after another, until all are taken."""
        part = atomic_add(offset(shared, NEXT), 1)
        while part < shared[PARTS]:
            call(shared[KERNEL], (shared[ARGUMENTS], part))
            part = atomic_add(offset(shared, NEXT), 1)

    @inlined
    def wake(shared):
        """Write a byte into the pipe of every worker that sleeps; only one thread writes it."""
        for worker in range(shared[COUNT]):
            own = offset(shared, WORKERS + worker * LINE)
            if atomic_load(own) == 1 and atomic_exchange_if(own, 1, 0):
                call(shared[WRITE], (own[WRITE_END], own, 1))

    return run_all, take_parts, wake


def alone_kernel() -> int:
    """Address of ``run(kernel, arguments, parts)``: all parts, one after another."""

    def make():
        run_all = _shared()[0]

        def run_alone(kernel, arguments, parts):
            run_all(kernel, arguments, parts)

        return run_alone, types.void(*[types.int64] * 3)

    return compiled("threads_run_alone", "", make)


def together_kernel() -> int:
    """Address of ``run(shared, kernel, arguments, parts)``: all parts, with the workers."""

    def make():
        SPINS = thresholds.WORKER_SPINS
        run_all, take_parts, wake = _shared()

        def run_together(shared, kernel, arguments, parts):
            """Run all parts on the calling thread and the workers, or alone while another Python thread has them."""
            if not atomic_exchange_if(offset(shared, BUSY), 0, 1):
                run_all(kernel, arguments, parts)
                return
            # Open the launch under a number, take parts of it, close it.
            number = shared[LAUNCH] + 1
            shared[KERNEL], shared[ARGUMENTS], shared[PARTS], shared[LAUNCH] = kernel, arguments, parts, number
            atomic_store(offset(shared, NEXT), 0)
            atomic_store(offset(shared, OPEN), number)
            wake(shared)
            take_parts(shared)
            atomic_store(offset(shared, OPEN), 0)
            # Wait until no worker is in the middle of a part.
            waited = 0
            while atomic_load(offset(shared, INSIDE)) != 0:
                if waited < SPINS:
                    pause()
                    waited += 1
                else:  # a worker lost its core: let it have this one
                    call(shared[GIVE_WAY], ())
            atomic_store(offset(shared, BUSY), 0)

        return run_together, types.void(types.CPointer(types.int64), *[types.int64] * 3)

    return compiled("threads_run_together", "", make)


def worker_kernel() -> int:
    """Address of ``worker(line)``: what a worker runs; its argument is its line of the shared memory."""

    def make():
        SPINS, YIELDS = thresholds.WORKER_SPINS, thresholds.WORKER_YIELDS
        take_parts = _shared()[1]

        def worker(own):
            """Take part in launches, each open under a number of its own, until the number is negative."""
            shared = pointer_to(own[SHARED], types.int64)
            last = waited = 0
            number = atomic_load(offset(shared, OPEN))
            while number >= 0:
                if number != 0 and number != last:
                    # Enter, then look again: the caller closes, then looks whether anyone is inside.
                    atomic_add(offset(shared, INSIDE), 1)
                    if atomic_load(offset(shared, OPEN)) == number:
                        last, waited = number, 0
                        take_parts(shared)
                    atomic_add(offset(shared, INSIDE), -1)
                elif waited < SPINS:
                    pause()
                    waited += 1
                elif waited < SPINS + YIELDS:
                    call(shared[GIVE_WAY], ())
                    waited += 1
                else:
                    # Fall asleep, but look again before: the caller opens, then looks who sleeps.
                    atomic_store(own, 1)
                    number = atomic_load(offset(shared, OPEN))
                    if number == 0 or number == last:
                        call(shared[READ], (own[READ_END], offset(own, RECEIVED), 1))
                    atomic_exchange_if(own, 1, 0)
                    waited = 0
                number = atomic_load(offset(shared, OPEN))
            atomic_add(offset(shared, LEFT), 1)  # the last that it does with the shared memory

        return worker, types.void(types.CPointer(types.int64))

    return compiled("threads_worker", "", make)


# What the members of a team share; the next part on a cache line of its own.
TEAM_NEXT, TEAM_KERNEL, TEAM_ARGUMENTS, TEAM_PARTS = 0, 8, 9, 10


def team_kernel() -> int:
    """Address of ``run(parallel, member, threads, kernel, arguments, parts)``: all parts, on the threads of OpenMP.

    ``parallel`` is the address of its ``GOMP_parallel(function, data, threads, flags)``, which runs the function on so
    many threads, this one among them, and returns when all have ended.
    """

    def make():
        def run_in_team(parallel, member, threads, kernel, arguments, parts):
            team = local(types.int64, 16)
            team[TEAM_NEXT], team[TEAM_KERNEL], team[TEAM_ARGUMENTS], team[TEAM_PARTS] = 0, kernel, arguments, parts
            call(parallel, (member, team, threads, 0))

        return run_in_team, types.void(*[types.int64] * 6)

    return compiled("threads_run_in_team", "", make)


def member_kernel() -> int:
    """Address of ``member(team)``: what each thread of a team runs."""

    def make():
        def member(team):
            """Take parts, one after another, until all are taken."""
            part = atomic_add(offset(team, TEAM_NEXT), 1)
            while part < team[TEAM_PARTS]:
                call(team[TEAM_KERNEL], (team[TEAM_ARGUMENTS], part))
                part = atomic_add(offset(team, TEAM_NEXT), 1)

        return member, types.void(types.CPointer(types.int64))

    return compiled("threads_member", "", make)


def end_kernel() -> int:
    """Address of ``end(shared)``: end the workers."""

    def make():
        wake = _shared()[2]

        def end(shared):
            """End the workers after the launch under way, and wait until all are gone; nobody has them again."""
            while not atomic_exchange_if(offset(shared, BUSY), 0, 1):
                call(shared[GIVE_WAY], ())
            atomic_store(offset(shared, OPEN), -1)
            wake(shared)
            while atomic_load(offset(shared, LEFT)) < shared[COUNT]:
                call(shared[GIVE_WAY], ())

        return end, types.void(types.CPointer(types.int64))

    return compiled("threads_end", "", make)
