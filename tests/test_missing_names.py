"""Names that nblstm has not: what is said where one is asked for or imported, and what that costs others."""

import importlib
import re
import subprocess
import sys

import pytest
from processes import run_python

import nblstm
from nblstm.arguments.keras_names import NAMES

MODULES = [f"nblstm.{name}".rstrip(".") for name in NAMES]


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        ("layers", "ConvLSTM1D", "which Keras has and nblstm has not (did you mean 'Conv1D'?)"),
        ("layers", "SpatialDropout2D", "which Keras has and nblstm has not (did you mean 'SpatialDropout1D'?)"),
        ("layers", "MultiHeadAttention", "which Keras has and nblstm has not"),
        ("layers", "concatenate", "which Keras has and nblstm has not"),
        ("layers", "LSTN", " (did you mean 'LSTM'?)"),
        ("layers", "dens", " (did you mean 'Dense'?)"),
        ("layers", "Mdl", ""),
        ("layers", "Identity", "which Keras has and nblstm has not"),  # that of initializers is another thing
        ("metrics", "serialize", "which Keras has and nblstm has not"),
        ("layers", "load_model", "; it is nblstm.models.load_model"),
        ("optimizers", "Ftrl", "which Keras has and nblstm has not; it has Adadelta, Adagrad, Adam, "),
        ("optimizers.schedules", "CosineDecy", " (did you mean 'CosineDecay'?)"),
        ("models", "Model", "which Keras has and nblstm has not; it has Sequential"),
        ("losses", "Tversky", "which Keras has and nblstm has not"),
        ("training.losses", "Tversky", "which Keras has and nblstm has not"),
        ("nn", "Lstm", " (did you mean 'LSTM'?)"),
        ("nn", "Dense", "; it is nblstm.layers.Dense"),
        ("cells", "gruu", " (did you mean 'gru'?)"),
        ("", "Layer", "; it is nblstm.layers.Layer"),
        ("", "ops", "which Keras has and nblstm has not"),
        ("", "applications", "which Keras has and nblstm has not"),
        ("", "optimisers", " (did you mean 'optimizers'?)"),
        ("", "keras", "; nblstm's own modules have Keras's names, so write nblstm.layers for keras.layers"),
        ("", "qqqq", ""),
        ("", "_private", ""),
    ],
)
def test_what_an_attribute_and_an_import_say(module, name, said):
    path = f"nblstm.{module}".rstrip(".")
    home = importlib.import_module(path)
    assert not hasattr(home, name)
    assert getattr(home, name, None) is None
    with pytest.raises(AttributeError) as caught:
        getattr(home, name)
    text = str(caught.value)
    assert text.startswith(f"module {path!r} has no attribute {name!r}{',' * said.startswith('which')}")
    assert said in text
    assert len(text) < 300
    with pytest.raises(ImportError) as caught:
        exec(f"from {path} import {name}")
    assert str(caught.value).startswith(f"cannot import name {name!r} from {path!r}")
    assert said in str(caught.value)


@pytest.mark.parametrize("path", MODULES)
def test_no_name_of_keras_that_there_is_is_called_missing(path):
    """What there is is looked up when the error is made: a layer that is added needs no line elsewhere."""
    module = importlib.import_module(path)
    for name in NAMES[path.removeprefix("nblstm").removeprefix(".")].split():
        if name not in dir(module):
            with pytest.raises(AttributeError, match=r"which Keras has and nblstm has not|; it is nblstm"):
                getattr(module, name)
    for name in dir(module):
        assert getattr(module, name) is not None
    assert "explain_missing_names" not in dir(module)


def test_an_import_in_a_file_of_many_names():
    """The name's number then needs two operations of Python's bytecode."""
    many = "".join(f"name_{k} = {k}\n" for k in range(300))
    with pytest.raises(ImportError, match=r"cannot import name 'LSTN' from 'nblstm.layers' .did you mean 'LSTM'"):
        exec(f"{many}from nblstm.layers import LSTN")


def test_python_adds_no_guess_of_its_own():
    code = "import nblstm; nblstm.layers.LSTN"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert len(re.findall("[Dd]id you mean", said)) == 1


def test_a_submodule_is_imported_all_the_same():
    """`from package import submodule` asks the package for an attribute first, and is told at once that it has none."""
    print_names = "print(sorted(name for name in sys.modules if 'keras_names' in name))"
    code = f"import sys; from nblstm.layers import dense; {print_names}"
    assert "keras_names" not in run_python(code)
    assert "keras_names" not in run_python("import sys, nblstm.layers, nblstm.models, nblstm.nn; " + print_names)


def test_a_module_that_is_being_imported_is_found(monkeypatch):
    """Python then looks for it in `sys.modules`, behind an AttributeError alone."""
    monkeypatch.setitem(sys.modules, "nblstm.layers.half_done", nblstm)
    from nblstm.layers import half_done

    assert half_done is nblstm
    with pytest.raises(AttributeError, match=r"^module 'nblstm.layers' has no attribute 'half_done'$"):
        nblstm.layers.half_done  # noqa: B018


@pytest.mark.parametrize("name", ["onnx", "plots", "sklearn", "torch"])
def test_modules_that_are_imported_by_their_names(name):
    """Their libraries need not be there: nothing of them is imported."""
    code = f"import nblstm\ntry:\n    nblstm.{name}\nexcept AttributeError as error:\n    print(error)"
    assert run_python(code).endswith(f"; it is a module that is imported by its name: import nblstm.{name}\n")
