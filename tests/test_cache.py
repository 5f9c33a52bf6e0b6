"""Kernels on disk: found again, never mistaken for others, and no harm done when the folder is damaged or unusable."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import reference
from processes import finished, run_python, start
from tolerances import OUTPUT, assert_close

import nblstm
from nblstm.codegen import cache

#: An LSTM, with the argument "train" its gradients too; prints how many kernels were compiled, and all results.
PROGRAM = """
import sys
import numpy as np
from numba.core import event
from nblstm import cells, nn
from nblstm.codegen import compiler

built = []
build = compiler._build
compiler._build = lambda name, file, make: built.append(name) or build(name, file, make)
with event.install_recorder("numba:compile") as recorder:
    net = nn.LSTM(3, 5, seed=0)
    x = np.sin(np.arange(24, dtype="f4")).reshape(4, 2, 3)
    results = [net(x)[0]]
    if sys.argv[1] == "train":
        y, _, tape = net.forward(x)
        results += [y, net.backward(tape, np.cos(y)).flat]
compiled = len(built) + len(recorder.buffer)
print(compiled, *(array.tobytes().hex() for array in results))
"""


def results(printed):
    """How many kernels a process compiled, and its arrays."""
    compiled, *arrays = printed.split()
    return int(compiled), [np.frombuffer(bytes.fromhex(array), np.float32) for array in arrays]


def run(folder, kind="infer"):
    """The results of a process that uses this folder."""
    return results(run_python(PROGRAM, kind, NBLSTM_CACHE_DIR=str(folder)))


def assert_same(arrays, expected):
    for ours, theirs in zip(arrays, expected, strict=False):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder that one process has filled, and that process's results."""
    folder = tmp_path_factory.mktemp("cache") / "new" / "folder"
    compiled, arrays = run(folder, "train")
    assert compiled > 5
    assert len(arrays) == 3
    net = nblstm.nn.LSTM(3, 5, seed=0)
    x = np.sin(np.arange(24, dtype="f4")).reshape(4, 2, 3).astype(np.float64)
    params = {name: value.astype(np.float64) for name, value in net.state_dict().items()}
    expected, _ = reference.forward(reference.CELLS["lstm"], params, x)
    assert_close(arrays[0].reshape(4, 2, 5), expected, OUTPUT["float32"])
    return folder, arrays


def kernels(folder):
    return sorted(path for path in Path(folder).iterdir())


def test_a_second_process_compiles_nothing(filled):
    folder, expected = filled
    before = {path: path.stat().st_mtime_ns for path in kernels(folder)}
    compiled, arrays = run(folder, "train")
    assert compiled == 0
    assert_same(arrays, expected)
    assert {path: path.stat().st_mtime_ns for path in kernels(folder)} == before


def test_only_whole_files_are_left(filled):
    assert all(path.suffix == ".kernel" for path in kernels(filled[0]))


def test_damaged_files(filled, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(filled[0], folder)
    for k, path in enumerate(kernels(folder)):
        content = bytearray(path.read_bytes())
        if k % 4 == 0:
            content = content[: len(content) // 2]
        elif k % 4 == 1:
            content[len(content) * 2 // 3] ^= 1
        elif k % 4 == 2:
            content = b""
        else:
            content[3] ^= 128  # in the checksum
        path.write_bytes(content)
    compiled, arrays = run(folder, "train")
    assert compiled > 5
    assert_same(arrays, filled[1])
    compiled, arrays = run(folder, "train")
    assert compiled == 0  # they are mended
    assert_same(arrays, filled[1])


def test_a_folder_that_cannot_be_written(filled, tmp_path):
    (tmp_path / "file").write_text("a file where the folder should be")
    compiled, arrays = run(tmp_path / "file")
    assert compiled > 3
    assert_same(arrays, filled[1])
    assert (tmp_path / "file").read_text() == "a file where the folder should be"


def test_processes_that_start_at_once(filled, tmp_path):
    processes = [start(PROGRAM, "infer", NBLSTM_CACHE_DIR=str(tmp_path / "shared")) for _ in range(2)]
    for process in processes:
        assert_same(results(finished(process))[1], filled[1])
    assert {path.name for path in kernels(tmp_path / "shared")} < {path.name for path in kernels(filled[0])}


WARM = """
import sys
from nblstm import cells, warmup
chosen = cells.rnn_tanh, cells.gru_reset_before
warmup(chosen, "float32")
from nblstm import nn
from nblstm.codegen import compiler
import numpy as np
compiler._build = None  # nothing is left to build
for cell in chosen:
    for T, B, H in ((4, 2, 5), (9, 2, 300), (40, 30, 100)):  # on the calling thread, by hidden units, by rows
        net = nn.Recurrent(cell, 3, H, 2, bidirectional=True)
        y, _, tape = net.forward(np.ones((T, B, 3)))
        net.backward(tape, y)
        net(np.ones((T, B, 3)))
        nn.Recurrent(cell, 3, H).stepper(batch_size=B)(np.ones((B, 3)))
"""


def test_after_warmup_nothing_is_compiled(filled):
    run_python(WARM, NBLSTM_CACHE_DIR=str(filled[0]))


FACTORY = """
import sys
import numpy as np
from nblstm import cell, nn

alpha = float(sys.argv[1])

@cell(gates="a", states="h")
def unit(a, h):
    return EQUATION

net = nn.Recurrent(unit, 1, 1, bias=False)
net.load_state_dict({"weight_ih_l0": [[1.0]], "weight_hh_l0": [[0.0]]})
y, _, tape = net.forward(np.ones((1, 1, 1)))
print(y.item(), net.backward(tape, np.ones((1, 1, 1))).x.item())
"""


@pytest.mark.parametrize(
    ("equation", "alpha", "expected"),
    [
        ("alpha * a", 0.25, (0.25, 0.25)),
        ("alpha * a", 0.5, (0.5, 0.5)),
        ("alpha * a * a", 0.5, (0.5, 1.0)),
    ],
)
def test_a_changed_cell_never_meets_an_old_kernel(filled, equation, alpha, expected):
    printed = run_python(FACTORY.replace("EQUATION", equation), str(alpha), NBLSTM_CACHE_DIR=str(filled[0]))
    assert tuple(float(value) for value in printed.split()) == expected


# --- the folder and the key -----------------------------------------------------------------------


def test_where_the_folder_is(monkeypatch, tmp_path):
    monkeypatch.setenv("NBLSTM_CACHE_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    assert cache.folder() == tmp_path / "own"
    monkeypatch.delenv("NBLSTM_CACHE_DIR")
    assert cache.folder() == tmp_path / "numba" / "nblstm"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder().name == "nblstm"
    assert cache.folder() != Path("nblstm")


def test_the_key_depends_on_text_and_environment(monkeypatch):
    assert cache.key("a") == cache.key("a") != cache.key("b")
    before = cache.key("a")
    text = cache.environment()
    for version in (nblstm.codegen.cache.numba.__version__, nblstm.codegen.cache.llvmlite.__version__):
        assert version in text
        monkeypatch.setattr(cache, "environment", lambda version=version: text.replace(version, version + "1"))
        assert cache.key("a") != before


def test_the_key_depends_on_the_sources(tmp_path):
    root = Path(nblstm.__file__).parent
    shutil.copytree(root, tmp_path / "nblstm", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys; sys.path.insert(0, sys.argv[1]); from nblstm.codegen import cache; print(cache.key('a'))"
    keys = [run_python(code, str(tmp_path)).strip()]
    assert keys == [cache.key("a")]
    for source in ("cpu/matrix/microkernel.py", "codegen/scalar.py", "codegen/target.py"):
        with open(tmp_path / "nblstm" / source, "a") as file:
            file.write("\n# changed\n")
        keys.append(run_python(code, str(tmp_path)).strip())
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    "variables",
    [dict(NUMBA_OPT="1"), dict(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")],
)
def test_the_key_depends_on_how_numba_compiles(variables):
    code = "from nblstm.codegen import cache; print(cache.key('a'))"
    assert run_python(code, **variables) != run_python(code)


# --- one file -------------------------------------------------------------------------------------


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """A stored object, its file, and the folder."""
    monkeypatch.setenv("NBLSTM_CACHE_DIR", str(tmp_path / "folder"))
    value = ("symbol", bytes(range(256)) * 9)
    assert cache.load("name") is None
    assert cache.store("name", value)
    assert cache.load("name") == value
    (file,) = (tmp_path / "folder").iterdir()
    return value, file


def test_every_bit_counts(stored):
    _, file = stored
    content = file.read_bytes()
    for place in (0, 16, 31, 32, 33, len(content) // 2, len(content) - 1):
        for bit in (1, 128):
            damaged = bytearray(content)
            damaged[place] ^= bit
            file.write_bytes(damaged)
            assert cache.load("name") is None


def test_every_byte_counts(stored):
    _, file = stored
    content = file.read_bytes()
    for length in (0, 1, 31, 32, 33, len(content) - 1):
        file.write_bytes(content[:length])
        assert cache.load("name") is None
    file.write_bytes(content + b"\0")
    assert cache.load("name") is None


def test_a_damaged_file_is_replaced(stored):
    value, file = stored
    file.write_bytes(b"")
    assert cache.store("name", value)
    assert cache.load("name") == value
    assert list(file.parent.iterdir()) == [file]


def test_readers_see_a_file_whole_or_not_at_all(stored):
    value, file = stored

    def store_and_load(k):
        stored = cache.store("name", value) if k % 2 else True
        return stored and cache.load("name") == value

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(store_and_load, range(400)))
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_in_place_of_the_file(stored):
    value, file = stored
    file.unlink()
    file.mkdir()
    (file / "something").touch()
    assert cache.load("name") is None
    assert not cache.store("name", value)
    assert list(file.parent.iterdir()) == [file]  # nothing is left behind


def test_a_file_in_place_of_the_folder(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("NBLSTM_CACHE_DIR", str(folder))
        assert not cache.store("name", 1)
        assert cache.load("name") is None
