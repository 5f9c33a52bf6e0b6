"""What a GPU offers, as far as kernels are chosen by it."""

from __future__ import annotations

from dataclasses import dataclass

#: Older GPUs are not supported: acquire and release need compute capability 7.0, and 8.0 is what tests compile for.
OLDEST = (8, 0)


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes
    ----------
    name : str
    capability : (int, int)
        Compute capability, (9, 0) for an H100.
    multiprocessors : int
        Each runs at least one block at a time.
    shared_memory : int
        Bytes that one block may use.
    registers : int
        Of 32 bits, in one multiprocessor.
    cooperative : bool
        Whether all blocks of a launch can be made to run at once.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    shared_memory: int
    registers: int = 65536
    cooperative: bool = True


#: For looking at choices without a GPU.
H100 = Gpu("H100", (9, 0), 132, 227 * 1024)
A100 = Gpu("A100", (8, 0), 108, 163 * 1024)
