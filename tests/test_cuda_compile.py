"""Kernels compiled for real GPUs, on a machine without one: what the compiler and the assembler say about them."""

import re
from functools import lru_cache

import pytest
from cuda_cells import STEPS, plain
from networks import waves

from nblstm import cells
from nblstm.cuda import sequence, steps
from nblstm.cuda.gpu import A100, H100
from nblstm.cuda.kernels.cell_functions import CellSizes
from nblstm.cuda.tiling import choose

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install -e '.[cuda-compiler]'")
cubin = pytest.importorskip(
    "nblstm.cuda.cubin",
    reason="numba-cuda's compiler is not installed: pip install -e '.[cuda-compiler]'",
    exc_type=ImportError,
)


@lru_cache(maxsize=1)
def made_for(kernel, gpu):
    """PTX, and what the assembler said."""
    ptx = cubin.ptx(kernel, gpu.capability)
    return ptx, cubin.link(ptx, gpu.capability)[1]


def check(kernel, gpu):
    """The PTX of a kernel; fails on what makes one slow without making it wrong."""
    ptx, log = made_for(kernel, gpu)
    assert f".target sm_{gpu.capability[0]}{gpu.capability[1]}" in ptx
    taken = re.findall(r"^\s*\.param (\S+)(?= \S+_param_\d+[,\s])", ptx, re.MULTILINE)
    assert taken == [".u64"] * len(kernel.arguments._fields), "a launch gives 8 bytes for each argument"
    assert f".maxntid {kernel.threads}, 1, 1" in ptx
    assert ".global.nc" not in ptx, "a load that does not see what other blocks write"
    assert not re.search(r"\.local\b|\bcall\b|\.extern \.func", ptx), "memory of threads, or a call"
    assert not re.search(r"\b(ld|st)\.(v\d\.)?[fbu]\d+", ptx), "an access to memory of unknown kind"
    if kernel.dtype == "float32":
        assert not re.search(r"\.f64\b", ptx), "float64 in a float32 kernel"
    assert re.search(r"\b0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads", log), log
    registers = int(re.search(r"Used (\d+) registers", log)[1])
    assert registers * -(-kernel.threads // 128) * 128 <= gpu.registers
    return ptx


@pytest.mark.parametrize(
    ("cell", "dtype", "gpu"),
    [("lstm", "float32", A100), ("lstm", "float32", H100), ("gru_reset_before", "float32", H100),
     ("lstm_peephole", "float64", H100), ("gru_reset_before", "float64", A100), (waves, "float32", H100),
     (waves, "float64", A100),
     *((STEPS[name], "float32", H100) for name in ("normed", "copied", "lstm_zoneout", "scheduled")),
     (STEPS["all_parts"], "float32", A100), (STEPS["all_parts"], "float64", H100)],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_kernels_of_one_step(cell, dtype, gpu):
    made = getattr(cells, cell) if isinstance(cell, str) else cell
    for kernel in (
        *steps.step_kernels(made, dtype, "inference"), *steps.step_kernels(made, dtype, "training"),
        *steps.step_kernels(made, dtype, "backward"),
    ):  # fmt: skip
        check(kernel, gpu)


class Offline:
    """As much of a runtime as `sequence.without_spills` needs."""

    def __init__(self, gpu):
        self.gpu = gpu

    def compile(self, kernel):
        return int(re.search(r"(\d+) bytes spill stores", made_for(kernel, self.gpu)[1])[1])


#: Sizes that reach each kind of kernel: alone with all weights in registers or some in shared memory, several blocks
#: with one or several chunks of rows, one or two directions.
SEQUENCES = [
    ("lstm", H100, 64, 1, 1), ("lstm", H100, 128, 64, 2), ("gru", H100, 100, 33, 1), ("lstm", H100, 768, 16, 1),
    ("gru", H100, 1024, 16, 1), ("rnn_tanh", H100, 512, 128, 1), ("lstm", A100, 64, 16, 2),
    ("lstm_peephole", A100, 512, 16, 1), (plain, H100, 256, 16, 1),
]  # fmt: skip


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(("cell", "gpu", "H", "B", "D"), SEQUENCES, ids=lambda value: getattr(value, "name", value))
def test_kernels_of_a_sequence(cell, gpu, H, B, D, backward):
    made = getattr(cells, cell) if isinstance(cell, str) else cell
    tiling = choose(gpu, CellSizes.of(made), H, B, D, "float32", backward)
    assert tiling is not None
    kind = "backward" if backward else "training"
    kernel, compiled = sequence.without_spills(Offline(gpu), made, kind, tiling)
    assert compiled.in_registers >= tiling.in_registers - 2, "the tiling counts on registers that there are not"
    ptx = check(kernel, gpu)
    assert "ld.shared.v4.f32" in ptx
    assert "shfl.sync.bfly.b32" in ptx
    for used in ("ld.acquire.gpu", "red.release.gpu", "cp.async.cg", "cp.async.wait_all"):
        assert (used in ptx) == (tiling.blocks > 1)
    if tiling.blocks > 1:
        check_waiting(ptx)


def check_waiting(ptx):
    """Threads wait for their copies, then for each other, before they multiply; a counter is looked at in a loop."""
    places = [found.start() for found in re.finditer(r"cp\.async\.wait_all", ptx)]
    for place in places:
        behind = ptx[place:]
        assert behind.index("bar.sync") < behind.index("ld.shared.v4.f32")
    look = re.search(r"^(\$L__BB\w+):(?:(?!^\$L__BB).)*?ld\.acquire\.gpu", ptx, re.MULTILINE | re.DOTALL)
    assert look, "no look at a counter inside a block that can be entered again"


def test_machine_code_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("NBLSTM_CACHE_DIR", str(tmp_path))
    kernel = steps.step_kernels(cells.rnn_tanh, "float32", "backward")[0]
    made = cubin.compile_kernel(kernel, (9, 0))
    assert made.code[:4] == b"\x7fELF"
    assert made.entry.encode() in made.code
    files = sorted(tmp_path.iterdir())
    assert len(files) == 1
    monkeypatch.setattr(cubin, "ptx", None)  # is not called again
    assert cubin.compile_kernel(kernel, (9, 0)) == made
    monkeypatch.undo()
    assert cubin.compile_kernel(kernel, (8, 0)).code != made.code
