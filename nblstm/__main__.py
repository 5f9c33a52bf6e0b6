"""``python -m nblstm``: what this installation is, and kernels compiled ahead of their first use."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import llvmlite
import numba
import numpy
import scipy

import nblstm
from nblstm.arguments import validate
from nblstm.codegen import cache, compiler, target
from nblstm.cpu.matrix.blocks import vector_unit
from nblstm.cpu.threads import num_threads
from nblstm.cuda.gpu import H100
from nblstm.cuda.kernels.cell_functions import CellSizes
from nblstm.cuda.tiling import described
from nblstm.engine.device import cuda_unavailable, device
from nblstm.process.show import show

#: The ready-made cells by their names.
CELLS = {name: made for name, made in vars(nblstm.cells).items() if isinstance(made, nblstm.Cell)}


def info() -> str:
    """Versions, device, threads, vector width and cache folder, a line each; and why kernels are compiled slowly."""
    unit, folder = vector_unit(), cache.folder()
    kernels = list(folder.glob("*.kernel")) if folder.is_dir() else []
    size = sum(kernel.stat().st_size for kernel in kernels) / 1e6
    rows = {
        "nblstm": nblstm.__version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "libraries": f"numba {numba.__version__}, llvmlite {llvmlite.__version__}, "
        f"numpy {numpy.__version__}, scipy {scipy.__version__}",
        "device": _said(device),
        "CPU": f"{numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()}, {unit.name}: "
        f"{unit.lanes('float32')} float32 or {unit.lanes('float64')} float64 in one of {unit.registers} registers; "
        f"bfloat16 {'in pairs' if unit.bfloat16 else 'by way of float32'}",
        "threads": _said(num_threads),
        "CUDA": cuda_unavailable() or ", ".join(import_module("nblstm.cuda").names()),
        "cache": f"{folder} ({len(kernels)} kernels, {size:.1f} MB{'' if cache.writable() else ', not writable'})",
    }
    if target.why_plain():
        rows["kernels"] = f"compiled for Numba's own target, in about twice the time: {target.why_plain()}"
    return "\n".join(f"{name:10} {value}" for name, value in rows.items())


def _said(ask: Callable[[], Any]) -> str:
    """Text of what a function returns, or of its error."""
    try:
        return str(ask())
    except (RuntimeError, ValueError) as error:
        return f"unusable: {error}"


def _size(text: str) -> int:
    return validate.positive_integer("the size", int(text))


def _layouts(arguments: list[str]) -> str:
    """The kernels of a layer for each of some sizes, a line each.

    In no help but its own: who develops kernels for a GPU asks for it by its name.
    """
    parser = argparse.ArgumentParser(
        prog="python -m nblstm layouts",
        description="Which CUDA kernels a layer gets, on the GPU here or else an H100.",
    )
    parser.add_argument("--cell", choices=CELLS, default="lstm")
    parser.add_argument("--hidden", type=_size, nargs="+", default=[64, 128, 256, 512, 768, 1024, 2048], metavar="H")
    parser.add_argument("--batch", type=_size, nargs="+", default=[1, 16, 64, 128], metavar="B")
    parser.add_argument("--bidirectional", action="store_true")
    chosen = parser.parse_args(arguments)
    cell = CELLS[chosen.cell]
    gpu = H100 if cuda_unavailable() else import_module("nblstm.cuda.runtime").properties(0)
    if cell.called:
        return f"{chosen.cell} has two recurrent products: launches and products for each step"
    sizes, D = CellSizes.of(cell), 1 + chosen.bidirectional
    return "\n".join([gpu.name, *(described(gpu, sizes, H, B, D) for H in chosen.hidden for B in chosen.batch)])


def _compile_ahead(chosen) -> None:
    """Kernels of models, or of the ready-made networks, which have to be on disk in the end."""
    compiler.unstored.clear()
    for model in chosen.models:
        nblstm.warmup(nblstm.models.load_model(model))
    for dtype in [] if chosen.models else chosen.dtype:
        nblstm.warmup(dtype=dtype)
    if compiler.unstored:
        raise OSError(
            f"{len(compiler.unstored)} kernels could not be written to {cache.folder()}; make it writable, "
            "make room, or name another folder by NBLSTM_CACHE_DIR"
        )


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["layouts"]:
        show(_layouts(arguments[1:]))
        return 0
    parser = argparse.ArgumentParser(prog="python -m nblstm", description=(__doc__ or "").replace("``", ""))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="versions, device, threads, vector width, cache folder")
    ahead = commands.add_parser("warmup", help="compile kernels ahead: of LSTM, GRU and RNN, or of saved models")
    ahead.add_argument("models", nargs="*", metavar="MODEL", help="what Sequential.save has written")
    ahead.add_argument("--dtype", nargs="+", choices=validate.DTYPES, default=["float32"], help="without a model")
    chosen = parser.parse_args(arguments)
    if chosen.command == "warmup":
        try:
            _compile_ahead(chosen)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            parser.exit(1, f"{error}\n")
    show(info())
    return 0


if __name__ == "__main__":
    sys.exit(main())
