"""Installations without source files, and in archives: what they compute, and what their kernels are called."""

import compileall
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from processes import run_python

import nblstm
from nblstm import nn
from nblstm.codegen import cache
from nblstm.training import Adam

PACKAGE = Path(nblstm.__file__).parent
X = np.sin(np.arange(24, dtype="f4")).reshape(8, 3)

#: Prints the cache's key for a text, whether there are sources, and the parameters after a step of Adam.
PROGRAM = """
import inspect, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from nblstm import nn
from nblstm.codegen import cache
from nblstm.training import Adam, optimizers

try:
    inspect.getsource(optimizers)
    sources = "sources"
except OSError:
    sources = "none"
print(cache.key("a"), sources)
if len(sys.argv) > 2:
    net = nn.Linear(3, 5, seed=0)
    adam = Adam([net])
    y, tape = net.forward(np.sin(np.arange(24, dtype="f4")).reshape(8, 3))
    adam.step([net.backward(tape, y)])
    print(net.flat_parameters().tobytes().hex())
"""


def run(place, *arguments, **variables):
    return run_python(PROGRAM, str(place), *arguments, **variables).split()


def expected():
    net = nn.Linear(3, 5, seed=0)
    adam = Adam([net])
    y, tape = net.forward(X)
    adam.step([net.backward(tape, y)])
    return net.flat_parameters().tobytes().hex()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder with the package, compiled, without sources."""
    folder = tmp_path_factory.mktemp("compiled")
    shutil.copytree(PACKAGE, folder / "nblstm", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(folder, quiet=2, legacy=True)
    for source in folder.rglob("*.py"):
        source.unlink()
    return folder


def test_it_computes_the_same(compiled, tmp_path):
    _, sources, parameters = run(compiled, "train", NBLSTM_CACHE_DIR=str(tmp_path))
    assert sources == "none"
    assert parameters == expected()
    assert len(list(tmp_path.glob("*.kernel"))) > 0


def archived(folder, archive):
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((folder / "nblstm").rglob("*.py*")):
            if "__pycache__" not in path.parts:
                file.write(path, path.relative_to(folder))
    return archive


def test_an_archive(compiled, tmp_path):
    """With sources, its kernels are those of the folder; without, those of the compiled folder."""
    key, _, parameters = run(archived(PACKAGE.parent, tmp_path / "sources.zip"), "train")
    assert key == cache.key("a")
    assert parameters == expected()
    assert run(archived(compiled, tmp_path / "compiled.zip")) == run(compiled)


def test_versions_are_told_apart_by_their_code(compiled, tmp_path):
    """Each has kernels of its own; where a file lies, and its comments, make no difference."""
    keys = {run(compiled)[0], cache.key("a")}
    assert len(keys) == 2
    sources = (PACKAGE / "codegen" / "scalar.py").read_text()
    changes = {
        "same": ("import math\n", "import math  # a comment\n\n"),
        "constant": ("-88.0", "-88.5"),
        "operator": ("r + r * r", "r - r * r"),
    }
    for name, (old, new) in changes.items():
        folder = tmp_path / name
        shutil.copytree(compiled, folder)
        source = folder / "nblstm" / "codegen" / "scalar.py"
        assert old in sources
        source.write_text(sources.replace(old, new, 1))
        compileall.compile_file(source, quiet=2, legacy=True)
        source.unlink()
        keys.add(run(folder)[0])
    assert len(keys) == 4


def test_what_cannot_be_read_is_not_taken_for_anything(monkeypatch):
    monkeypatch.setattr(cache.pkgutil, "iter_modules", lambda *_: iter([]))
    with pytest.raises(RuntimeError, match=r"the modules of nblstm\.cpu cannot be listed"):
        cache.sources("cpu")
