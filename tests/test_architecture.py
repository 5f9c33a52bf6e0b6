"""The house: imports point down only, files stay small, and importing nblstm brings in nothing that it need not."""

import ast
import importlib
import types
from pathlib import Path

import pytest
import reference
from processes import run_python

import nblstm

ROOT = Path(nblstm.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

#: What each part of nblstm may import, beside itself.
ALLOWED = {
    "arguments": set(),
    "process": set(),
    "symbolic": {"arguments"},
    "cells": {"symbolic"},
    "buffers": {"cells"},
    "codegen": {"process"},
    "cpu": {"arguments", "buffers", "cells", "codegen", "process", "symbolic"},
    "cuda": {"arguments", "buffers", "cells", "codegen", "process", "symbolic"},
    "engine": {"arguments", "buffers", "cells"},  # and cpu or cuda by name, see `engine.device`
    "nn": {"arguments", "buffers", "cells", "engine", "process"},
    "training": {"arguments", "engine", "nn", "process", "symbolic"},
    "layers": {"arguments", "buffers", "cells", "engine", "nn", "process", "symbolic"},
    "models": {"arguments", "engine", "layers", "nn", "process", "training"},
    # Keras's names of modules, for what lies further down.
    **{name: {"layers"} for name in ("activations", "constraints", "initializers", "regularizers")},
    **{name: {"training"} for name in ("callbacks", "losses", "metrics", "optimizers")},
    "preprocessing": {"utils"},
    "utils": {"arguments", "layers", "training"},
    "backend": {"training", "layers"},
    "saving": {"models", "arguments"},
    "__init__": {"arguments", "cells", "cpu", "engine", "layers", "models", "nn", "symbolic", "training"}  # cpu: threads
    | {"activations", "constraints", "initializers", "regularizers", "callbacks", "losses", "metrics", "optimizers"}
    | {"preprocessing", "saving", "utils", "backend"},
    "__main__": {"nblstm", "arguments", "codegen", "cpu", "cuda", "engine", "process"},
}  # fmt: skip

#: Imports that point up, each in one function, each with a reason that stands beside it.
WINDOWS: set[tuple[str, str]] = set()

#: Libraries that any part may import; all others are foreign.
LIBRARIES = {"numba", "numpy", "scipy", "llvmlite", "platformdirs", "threadpoolctl"}

#: Libraries that a function may import where it draws something, and that need not be there.
OPTIONAL = {"matplotlib"}

#: Libraries of the GPU: only the CUDA backend may import them, and Numba's own `numba.cuda` with them.
ON_A_GPU = {"cupy", "cuda"}


def part_of(file):
    return file.split("/")[0].removesuffix(".py")


def imports(file):
    """(imported module in full, whether within a function) for each import of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    inside = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively: write the full name"
            for name in node.names:
                yield f"{node.module}.{name.name}", id(node) in inside


def test_every_part_is_in_the_table():
    assert {part_of(file) for file in FILES} <= set(ALLOWED)


@pytest.mark.parametrize("file", FILES)
def test_imports_point_down(file):
    for module, in_function in imports(file):
        package, _, rest = module.partition(".")
        if package != "nblstm":
            continue
        target = rest.split(".")[0] if rest else "nblstm"
        if (ROOT / f"{target}.py").exists() or (ROOT / target).is_dir() or target == "nblstm":
            window = in_function and (file, target) in WINDOWS
            allowed = ALLOWED[part_of(file)] | {part_of(file)}
            assert window or target in allowed, f"{file} imports {module}; {part_of(file)} may import {sorted(allowed)}"


@pytest.mark.parametrize("file", FILES)
def test_libraries(file):
    import sys

    for module, in_function in imports(file):
        package = module.split(".")[0]
        known = {"nblstm", *LIBRARIES, *sys.stdlib_module_names} | (OPTIONAL if in_function else set())
        if part_of(file) == "cuda":
            known |= ON_A_GPU
        else:
            assert not module.startswith("numba.cuda"), f"{file} imports {module}"
        assert package in known, f"{file} imports {module}"


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith(("cells/", "symbolic/", "buffers/"))])
def test_cells_and_layout_know_no_compiler(file):
    assert not any(module.split(".")[0] in ("numba", "llvmlite") for module, _ in imports(file))


@pytest.mark.parametrize("file", FILES)
def test_files_are_small(file):
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize("backend", [file for file in FILES if file.startswith(("cpu/", "cuda/"))])
def test_no_equation_in_a_backend(backend):
    names = {node.id for node in ast.walk(ast.parse((ROOT / backend).read_text())) if isinstance(node, ast.Name)}
    assert not names & {"sigmoid", "tanh", "relu"}


@pytest.mark.parametrize("file", FILES)
def test_no_code_of_python_runs_when_an_object_goes(file):
    """Neither a ``__del__`` nor a weak reference's callback, see `nblstm.buffers.memory`."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert not any(isinstance(node, ast.FunctionDef) and node.name == "__del__" for node in ast.walk(tree))
    names = {getattr(node, "attr", getattr(node, "name", None)) for node in ast.walk(tree)}
    assert not names & {"finalize", "WeakSet", "WeakValueDictionary", "WeakKeyDictionary", "WeakMethod"} - (
        {"finalize"} if file == "codegen/small_target.py" else set()  # a method of Numba's passes, and of its libraries
    )


def test_no_file_is_named_after_nothing():
    own = [file for file in FILES if file != "utils.py"]  # Keras's name, and nothing is written there
    assert not {Path(file).stem for file in own} & {"utils", "util", "core", "helpers", "common", "misc"}


def test_importing_brings_in_no_framework_and_compiles_nothing():
    code = """
import sys
import numba
from numba.core import event
before = set(sys.modules)
with event.install_recorder("numba:compile") as recorder:
    import nblstm
assert not recorder.buffer, "the import compiles"
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
print(*sorted(name for name in sys.modules if name.startswith("nblstm.")))
"""
    packages, own = (set(line.split()) for line in run_python(code, NBLSTM_DEVICE=None).splitlines())
    foreign = {"torch", "tensorflow", "keras", "jax", "onnx", "onnxruntime", "sklearn", "pandas", "matplotlib", "cupy"}
    assert not packages & foreign
    assert not any(name.startswith(("nblstm.cuda", "nblstm.interop")) for name in own)


def test_the_oracle_does_not_know_nblstm():
    for path in (Path(reference.__file__), *Path(reference.__file__).with_name("golden").glob("*.py")):
        names = {alias.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import)
                 for alias in node.names}  # fmt: skip
        names |= {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        assert not any(name.split(".")[0] == "nblstm" for name in names)


def test_all_public_names_exist_and_are_documented():
    for name in nblstm.__all__:
        assert getattr(nblstm, name).__doc__, name
    for module in (nblstm.cells, nblstm.layers, nblstm.models, nblstm.nn, nblstm.training):
        for name in module.__all__:
            assert getattr(module, name).__doc__, f"{module.__name__}.{name}"


def public_modules(module=nblstm):
    """A module, and the modules that it shows."""
    yield module
    for name in dir(module):
        if isinstance(below := getattr(module, name), types.ModuleType) and not name.startswith("__"):
            yield from public_modules(below)


@pytest.mark.parametrize("module", sorted(set(public_modules()), key=lambda module: module.__name__))
def test_modules_show_public_names_alone(module):
    """What an editor offers behind ``nblstm.``: what is there for users, and no module that happens to be imported."""
    assert module.__name__.startswith("nblstm")
    shown = {name for name in dir(module) if not name.startswith("__")}
    public = getattr(module, "__all__", None)  # the modules with Keras's names pass on that of the one below
    assert shown
    assert public is None or shown == set(public)
    for name in shown:
        assert not name.startswith("_")
        home = getattr(getattr(module, name), "__module__", None) or "nblstm"
        assert home.split(".")[0] == "nblstm", f"{module.__name__}.{name} is {home}'s"


def test_what_nblstm_shows():
    assert dir(nblstm) == sorted([*nblstm.__all__, "__version__"])
    assert not set(dir(nblstm)) & {"validate", "memory", "engine", "stack", "import_module", "TYPE_CHECKING"}


@pytest.mark.parametrize("name", [name for name, parts in ALLOWED.items() if parts in ({"layers"}, {"training"})])
def test_modules_have_keras_names(name):
    """A Keras program's ``from keras.optimizers import Adam`` needs no more than another package."""
    module = importlib.import_module(f"nblstm.{name}")
    below = importlib.import_module(f"nblstm.{next(iter(ALLOWED[name]))}.{name}")
    assert below.__all__
    for public in below.__all__:
        assert getattr(module, public) is getattr(below, public)


COMPILED = [file for file in FILES if part_of(file) in ("cpu", "codegen")]


@pytest.mark.parametrize("file", [file for file in COMPILED if file != "codegen/plain_target.py"])
def test_kernels_are_compiled_for_their_own_target(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    names = {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"njit", "jit", "cfunc"}, "use codegen.target.inlined: what Numba's own target knows takes 0.3 s"


#: Of Numba's private modules, what its guide to extensions uses, and what is used if it is there.
KNOWN = {"numba.core.cgutils", "numba.core.typing.templates.AttributeTemplate", "numba.core.externals.c_math_functions"}


@pytest.mark.parametrize("file", [file for file in COMPILED if file != "codegen/small_target.py"])
def test_numbas_internals_are_for_the_small_target_alone(file):
    private = {module for module, _ in imports(file) if module.startswith(("numba.core.", "numba._", "numba.cpython."))}
    assert private <= KNOWN
