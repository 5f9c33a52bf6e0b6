"""A process that ends with its first LSTM result: ``python -m benchmarks.peers.first_result torch 2 0,1``.

Prints the moments at which its import and its first result were done. Imports nothing that a library would.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module

from benchmarks.peers.worker import pin


def main() -> None:
    """Import, then compute."""
    contender, threads, cpus = sys.argv[1:]
    pin(int(threads), [int(cpu) for cpu in cpus.split(",")])
    moments = {"began": time.time()}
    import_module(contender)
    moments["imported"] = time.time()
    if contender != "numba":
        from benchmarks.peers.work import Work, data

        module, work = import_module(f"benchmarks.peers.{contender}_"), Work("lstm", 28, 32, 28, 128)
        module.start(int(threads))
        module.Contender(work, data(work), False).inference()
        moments["result"] = time.time()
    print(json.dumps(moments))


if __name__ == "__main__":
    main()
