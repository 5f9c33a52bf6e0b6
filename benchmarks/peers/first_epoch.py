"""A process that ends with the first epoch of a program: ``... peers.first_epoch keras-jax count_digits 2 0,1``.

Prints the moments at which its imports and the epoch were done.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module

from benchmarks.peers.worker import pin


def main() -> None:
    """Import, then train."""
    contender, program, threads, cpus = sys.argv[1:]
    library, _, backend = contender.partition("-")
    pin(int(threads), [int(cpu) for cpu in cpus.split(",")], backend)
    from benchmarks.peers.programs import Library, Running

    Library(library)
    import_module(f"benchmarks.peers.{library}_").start(int(threads))
    moments = {"imported": time.time()}
    Running(program, library).first_epoch()
    moments["epoch"] = time.time()
    print(json.dumps(moments))


if __name__ == "__main__":
    main()
