"""The house: imports point down only, files stay small, and importing nblstm brings in nothing that it need not."""

import ast
import importlib
import re
import sys
import types
from pathlib import Path

import pytest
import reference
from processes import run_python

import nblstm

ROOT = Path(nblstm.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

#: Keras's names of modules, for what lies in `training`.
KERAS_NAMES = ("callbacks", "losses", "metrics", "optimizers")

#: What each part of nblstm imports, beside itself: these edges and no others, see docs/design.md.
ALLOWED = {
    "arguments": set(),
    "process": set(),
    "files": {"arguments", "process"},
    "symbolic": {"arguments"},
    "cells": {"arguments", "symbolic"},
    "buffers": {"cells"},
    "codegen": {"process"},
    "cpu": {"arguments", "buffers", "cells", "codegen", "process", "symbolic"},
    "cuda": {"arguments", "buffers", "cells", "codegen", "process", "symbolic"},
    "engine": {"arguments", "buffers", "cells", "process"},  # and cpu or cuda by name, see `engine.device`
    "numba_extension": {"arguments", "cells", "codegen", "cpu", "symbolic"},
    "nn": {"arguments", "buffers", "cells", "cuda", "engine", "files", "numba_extension", "process"},
    "torch": {"arguments", "buffers", "cells", "cpu", "engine", "nn", "numba_extension", "process", "symbolic"},
    "training": {"activations", "arguments", "engine", "files", "nn", "process", "symbolic"},
    "activations": {"arguments", "symbolic"},
    "constraints": {"arguments"},
    "initializers": {"arguments", "process"},
    "regularizers": {"arguments"},
    "layers": {"arguments", "buffers", "cells", "engine", "nn", "process", "symbolic"}
    | {"activations", "constraints", "initializers", "regularizers"},
    "onnx": {"activations", "arguments", "buffers", "cells", "engine", "files", "layers", "models", "nn"}
    | {"process", "symbolic"},
    "models": {"activations", "arguments", "engine", "files", "layers", "nn", "numba_extension", "process", "training"}
    | {"constraints", "initializers", "regularizers"},
    **{name: {"arguments", "training"} for name in KERAS_NAMES},
    "preprocessing": {"arguments", "training"},
    "plots": {"arguments", "buffers", "cells", "engine", "layers", "models", "nn", "symbolic"},
    "sklearn": {"arguments", "cells", "files", "layers", "models", "training"},
    "utils": {"arguments", "layers", "preprocessing", "training"},
    "backend": {"arguments", "training", "layers"},
    "saving": {"models", "arguments"},
    # Of cpu, the number of threads.
    "__init__": {"arguments", "cells", "cpu", "engine", "layers", "models", "nn", "numba_extension", "symbolic"}
    | {"training"}
    | {"activations", "constraints", "initializers", "regularizers", "callbacks", "losses", "metrics", "optimizers"}
    | {"preprocessing", "saving", "utils", "backend"},
    "__main__": {"nblstm", "arguments", "codegen", "cpu", "cuda", "engine", "process"},
}  # fmt: skip

#: Imports in functions, which would hide a cycle: libraries that take long or need not be there, and some modules.
IN_FUNCTIONS = {
    "difflib", "nblstm.arguments.keras_names.NAMES",  # for errors alone
    "scipy.sparse.csc_matrix", "scipy.special.erf", "threadpoolctl.ThreadpoolController", "platformdirs",  # slow
    "matplotlib.pyplot", "matplotlib.ticker.MaxNLocator", "pandas", "h5py",  # optional
    "numba.core.externals.c_math_functions",  # private, and not on every system
    # Of numba-cuda.
    "nblstm.cuda.device_function.device_function", "numba.cuda", "nblstm.cuda.kernels.primitives.Primitives",
    "nblstm.codegen.small_target",  # of Numba's private parts: with some versions of Numba it cannot be imported
    # Numba's rules for arguments, for who compiles a network.
    "nblstm.numba_extension.compiled_network.CompiledNetwork", "nblstm.numba_extension.recurrent_part.RecurrentPart",
    "nblstm.models.stepping.compiled_model", "nblstm.models.stepping.ModelStepper",
    "nblstm.models.keras_files.keras_formats",  # a dozen modules, for who reads or writes Keras's files
}  # fmt: skip

#: Files that import modules by names: public names at their first use, the device's package, a pickled cell's module, a
#: cache's sources, a process's task.
BY_NAME = {
    "__init__.py", "__main__.py", "engine/device.py", "cuda/gpu.py", "symbolic/importable.py", "codegen/cache.py",
    "codegen/background.py", "arguments/missing.py", "cells/__init__.py",
}  # fmt: skip

#: Libraries that any part may import; all others are foreign.
LIBRARIES = {"numba", "numpy", "scipy", "llvmlite", "platformdirs", "threadpoolctl"}

#: Libraries that a function may import where it draws or writes, or gives a table, and that need not be there.
OPTIONAL = {"matplotlib", "pandas", "h5py"}

#: Libraries of the GPU: only the CUDA backend may import them, and Numba's own `numba.cuda` with them.
ON_A_GPU = {"cupy", "cuda"}


def part_of(file):
    return file.split("/")[0].removesuffix(".py")


def tree_of(file):
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


TREES = {file: tree_of(file) for file in FILES}


def imports(file, types_too=True):
    """(imported module in full, whether within a function) for each import of a file."""
    tree = TREES[file]
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    inside = {id(node) for f in ast.walk(tree) if isinstance(f, functions) for node in ast.walk(f)}
    ifs = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for_types = {id(node) for found in ifs for node in ast.walk(found)}
    for node in ast.walk(tree):
        if id(node) in for_types and not types_too:
            continue
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively: write the full name"
            for name in node.names:
                yield f"{node.module}.{name.name}", id(node) in inside


def parts_imported(file):
    """The other parts of nblstm that a file imports, for types too."""
    for module, _ in imports(file):
        package, _, rest = module.partition(".")
        target = rest.split(".")[0] if rest else "nblstm"
        known = target == "nblstm" or (ROOT / f"{target}.py").exists() or (ROOT / target).is_dir()
        if package == "nblstm" and known and target != part_of(file):
            yield target


def test_the_table_has_the_edges_that_there_are():
    found = {part_of(file): set() for file in FILES}
    for file in FILES:
        found[part_of(file)] |= set(parts_imported(file))
    assert found == ALLOWED


def test_the_design_has_these_edges():
    """docs/design.md shows the folders, beside `arguments` and `process`, which all may import."""
    page = (ROOT.parent / "docs/design.md").read_text(encoding="utf-8")
    lines = re.findall(r"^(\w+) +->((?: \w+)*)(?:  |$)", page, flags=re.MULTILINE)
    free = {"arguments", "process"}
    folders = {name: parts - free for name, parts in ALLOWED.items() if name in dict(lines)}
    assert folders == {name: set(parts.split()) for name, parts in lines}
    assert set(folders) | free | {"optimizers", "preprocessing"} == {name for name in ALLOWED if (ROOT / name).is_dir()}


def test_the_edges_make_no_cycle():
    order, left = [], {name: set(parts) - {"nblstm"} for name, parts in ALLOWED.items()}
    while left:
        free = [name for name, parts in left.items() if parts <= set(order)]
        assert free, f"a cycle of imports is among {sorted(left)}"
        order += free
        left = {name: parts for name, parts in left.items() if name not in free}


def file_of(module):
    """The file of a module, or of one that a name is imported from; None for other packages'."""
    path = module.replace(".", "/").removeprefix("nblstm").removeprefix("/")
    for candidate in (path, path.rpartition("/")[0]):
        for file in (f"{candidate}.py", f"{candidate}/__init__.py".removeprefix("/")):
            if module.split(".")[0] == "nblstm" and file in FILES:
                return file
    return None


def test_no_file_imports_itself_by_way_of_others():
    """Nor by an import within a function; for types alone, a file may name a class of one that imports it."""
    left = {}
    for file in FILES:
        left[file] = {found for module, _ in imports(file, types_too=False) if (found := file_of(module))} - {file}
    while left:
        free = [file for file, needed in left.items() if not needed & set(left)]
        assert free, f"a cycle of imports is among {sorted(left)}"
        left = {file: needed for file, needed in left.items() if file not in free}


@pytest.mark.parametrize("file", FILES)
def test_imports_for_types_stay_within_a_package(file):
    here = file.rpartition("/")[0].split("/")[0]
    for module, _ in set(imports(file)) - set(imports(file, types_too=False)):
        known = module.split(".")[:2] == ["nblstm", here] or module.startswith("typing") or file == "__init__.py"
        assert known or module in IN_FUNCTIONS, module


@pytest.mark.parametrize("file", FILES)
def test_imports_in_functions(file):
    assert {module for module, in_function in imports(file) if in_function} <= IN_FUNCTIONS
    names = {getattr(node, "attr", getattr(node, "id", None)) for node in ast.walk(TREES[file])}
    assert file in BY_NAME or not names & {"import_module", "__import__"}, f"{file} imports a module by its name"


def test_no_exception_is_listed_in_vain():
    found = {module for file in FILES for module, in_function in imports(file) if in_function}
    assert found == IN_FUNCTIONS


@pytest.mark.parametrize("file", FILES)
def test_libraries(file):
    for module, in_function in imports(file):
        package = module.split(".")[0]
        known = {"nblstm", *LIBRARIES, *sys.stdlib_module_names} | (OPTIONAL if in_function else set())
        if part_of(file) in ("torch", "onnx", "sklearn"):
            known |= {part_of(file)}
        if part_of(file) == "plots":
            known |= {"matplotlib"}
        if part_of(file) == "onnx":
            known |= {"google"}  # protobuf, by which it reads files
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
    names = {node.id for node in ast.walk(TREES[backend]) if isinstance(node, ast.Name)}
    assert not names & {"sigmoid", "tanh", "relu"}


@pytest.mark.parametrize("file", FILES)
def test_no_code_of_python_runs_when_an_object_goes(file):
    """Neither a ``__del__`` nor a weak reference's callback, see `nblstm.buffers.memory`."""
    tree = TREES[file]
    assert not any(isinstance(node, ast.FunctionDef) and node.name == "__del__" for node in ast.walk(tree))
    names = {getattr(node, "attr", getattr(node, "name", None)) for node in ast.walk(tree)}
    assert not names & {"finalize", "WeakSet", "WeakValueDictionary", "WeakKeyDictionary", "WeakMethod"} - (
        {"finalize"} if file == "codegen/small_target.py" else set()  # a method of Numba's passes, and of its libraries
    )


def test_no_file_is_named_after_nothing():
    own = [file for file in FILES if file != "utils.py"]  # Keras's name
    assert not {Path(file).stem for file in own} & {"utils", "util", "core", "helpers", "common", "misc"}


#: File names and class names that a package has twice: losses and metrics have Keras's names, each its own.
TWICE = {"training": {"BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"}
         | {"MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError"}
         | {"CosineSimilarity", "Poisson", "KLDivergence", "Hinge", "SquaredHinge", "CategoricalHinge"}}  # fmt: skip


def twice(names):
    seen = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    return {name for name, count in seen.items() if count > 1}


@pytest.mark.parametrize("package", [name for name in ALLOWED if (ROOT / name).is_dir()])
def test_names_mean_one_thing_in_a_package(package):
    files = [file for file in FILES if part_of(file) == package]
    assert not twice(Path(file).stem for file in files if not file.endswith("__init__.py"))
    classes = (node.name for file in files for node in ast.walk(TREES[file]) if isinstance(node, ast.ClassDef))
    assert twice(name.lstrip("_") for name in classes) <= TWICE.get(package, set())


def classes_and_bases():
    """(file, class) of each class at the top of a file: those of its bases that are nblstm's."""
    home = {file: {node.name: (file, node.name) for node in TREES[file].body if isinstance(node, ast.ClassDef)}
            for file in FILES}  # fmt: skip

    def found(file, name):
        """The class that a name in a file stands for, by way of as many imports as it takes."""
        if name in home[file]:
            return home[file][name]
        for node in ast.walk(TREES[file]):
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                if (alias.asname or alias.name) == name and (source := file_of(f"{node.module}.{alias.name}")):
                    return found(source, alias.name)
        return None

    return {
        (file, node.name): [base for b in node.bases if (base := found(file, ast.unparse(b)))]
        for file in FILES for node in TREES[file].body if isinstance(node, ast.ClassDef)
    }  # fmt: skip


def test_inheritance_is_at_most_four_deep():
    bases = classes_and_bases()

    def depth(cls):
        return 1 + max(map(depth, bases[cls]), default=0)

    assert ("layers/recurrent/lstm.py", "LSTM") in bases
    assert depth(("layers/recurrent/lstm.py", "LSTM")) >= 3, "bases are not found"
    deep = {cls: depth(cls) for cls in bases if depth(cls) > 4}
    assert not deep


#: Classes with one subclass, each useful by itself.
BASES_OF_ONE = {
    "Adam", "RandomNormal",  # and AdamW, TruncatedNormal, as Keras has them
    "Gradients",  # and the piece of them that a held layer writes
    "PyDataset",  # and the windows of a series; it is for users
    "Stepper",  # of nn; that of layers takes Keras's states
    "LayerOptions", "EmbeddingOptions",  # types of **kwargs
    "HostArrays",  # the CPU backend's has kernels that pack; buffers know no kernels
}  # fmt: skip


def test_no_class_is_the_base_of_one_other():
    bases = [base for own in classes_and_bases().values() for base in own]
    assert {name for _, name in {base for base in bases if bases.count(base) == 1}} <= BASES_OF_ONE


#: Words that a reader has to turn round: "What a network keeps" for "Passes and weights of a network".
TURNED = {"What", "Those", "That", "As", "Of", "Whether", "How"}


@pytest.mark.parametrize("file", FILES)
def test_docstrings_begin_with_a_verb_or_a_noun(file):
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    texts = [ast.get_docstring(node) for node in ast.walk(TREES[file]) if isinstance(node, documented)]
    begin = [text.split()[0].strip(",;:`.") for text in texts if text]
    assert not TURNED & set(begin), [text.splitlines()[0] for text in texts if text and text.split()[0] in TURNED]


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


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_modules_have_keras_names(name):
    """A Keras program's ``from keras.optimizers import Adam`` needs no more than another package."""
    module = importlib.import_module(f"nblstm.{name}")
    below = importlib.import_module(f"nblstm.training.{name}")
    assert below.__all__
    for public in below.__all__:
        assert getattr(module, public) is getattr(below, public)


COMPILED = [file for file in FILES if part_of(file) in ("cpu", "codegen")]


@pytest.mark.parametrize("file", [file for file in COMPILED if file != "codegen/plain_target.py"])
def test_kernels_are_compiled_for_their_own_target(file):
    tree = TREES[file]
    names = {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"njit", "jit", "cfunc"}, "use codegen.target.inlined: what Numba's own target knows takes 0.3 s"


#: Of Numba's private modules, what its guide to extensions uses, and what is used if it is there.
KNOWN = {"numba.core.cgutils", "numba.core.typing.templates.AttributeTemplate", "numba.core.externals.c_math_functions"}


@pytest.mark.parametrize("file", [file for file in COMPILED if file != "codegen/small_target.py"])
def test_numbas_internals_are_for_the_small_target_alone(file):
    private = {module for module, _ in imports(file) if module.startswith(("numba.core.", "numba._", "numba.cpython."))}
    assert private <= KNOWN
