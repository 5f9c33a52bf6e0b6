"""The programs in the READMEs and in docs/ run as they stand, and the files and names that they speak of are there."""

import importlib
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from nblstm import cells, optimizers
from nblstm.arguments import custom

#: Keras's second names, and what a program that comes from Keras does not need.
NOT_KERAS = {
    "ActivationFunction", "AvgPool1D", "AvgPool2D", "Configured", "Convolution1D", "Convolution2D", "GlobalAvgPool1D",
    "GlobalMaxPool1D", "Initializer", "InputLayer", "Layer", "Loss", "LossFunction", "LossMetric", "MaxPool1D",
    "MaxPool2D", "Metric", "MetricFunction", "Optimizer", "OwnLoss", "Parameter", "Quantile", "Recurrent",
    "Regularizer", "Sequence", "Stepper", "Tape",
}  # fmt: skip

ROOT = Path(__file__).parents[1]
DOCS = sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md"))
PAGES = ["README.md", "examples/README.md", *DOCS]
#: Libraries that pages show nblstm with.
LIBRARIES = {
    "docs/torch.md": ("torch", "safetensors"), "docs/onnx.md": ("onnx", "onnxruntime"),
    "docs/sklearn.md": ("sklearn", "pandas"),
}  # fmt: skip
#: Libraries that blocks of the README need, and the beginning of what they import of them.
NEEDED = {"torch": "import torch\n", "sklearn": "from sklearn"}
#: Pages for developers and users alike, which name files.
NAMING = [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/lab/README.md"]


def text(page):
    return (ROOT / page).read_text(encoding="utf-8")


def run(page):
    """All of a page as one program, as a reader would type it in, less what needs torch or sklearn where there is none;
    the names that it leaves.
    """
    blocks = re.findall(r"^```python\n(.*?)^```", text(page), flags=re.DOTALL | re.MULTILINE)
    missing = [line for name, line in NEEDED.items() if not find_spec(name)]
    program = "\n".join(block for block in blocks if not any(line in block for line in missing))
    names = {"__name__": "program"}
    file = Path(f"{Path(page).stem}.py")
    file.write_text(program)  # Numba's cache asks for a function's file
    exec(compile(program, str(file.resolve()), "exec"), names)
    return names


def test_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run("README.md")
    printed = capsys.readouterr().out
    for part in ("'p_l0_reverse'", "def backward(", "Epoch 1/50 - 5/5"):
        assert part in printed
    assert 0.5 < names["accuracy"] <= 1
    assert not list(tmp_path.glob("backup*"))
    loaded = names["load_model"]("model.nblstm")
    np.testing.assert_array_equal(loaded.predict(names["x"]), names["model"].predict(names["x"]))


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if "```python" in text(page)])
def test_programs(page, tmp_path, monkeypatch):
    for library in LIBRARIES.get(page, ()):
        pytest.importorskip(library, reason=f"{page} shows what nblstm does with {library}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(custom, "_registered", {})  # a page may name its class as another test does
    run(page)


@pytest.mark.parametrize("page", NAMING)
def test_links(page):
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#:]+)\)", text(page)):
        assert (folder / target).exists(), target


def test_the_page_for_keras_names_what_there_is():
    table = text("docs/keras.md").partition("## What there is")[2].partition("\n\nOnly here")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", table, flags=re.MULTILINE)
    assert len(rows) == 12
    for modules, listed in rows:
        homes = [importlib.import_module(f"nblstm.{name}") for name in re.findall(r"`(\w+)`", modules)]
        homes += [optimizers.schedules] * (optimizers in homes)
        listed = set(re.findall(r"`(\w+)`", listed))
        for name in listed:
            assert any(hasattr(home, name) for home in homes), name
        there = {name for home in homes for name in dir(home) if name[0].isupper()}
        assert there - listed <= NOT_KERAS, there - listed


@pytest.mark.parametrize("page", NAMING)
def test_files_that_pages_name(page):
    """A path with a folder begins in nblstm/ or in the repository."""
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text(page)):
        assert (ROOT / "nblstm" / path).exists() or (ROOT / path).exists(), path


def test_files_to_open():
    """The last table names files below nblstm/, later ones in a row without the folder of the first."""
    rows = re.findall(
        r"^\| .* \| (`.*) \|$", text("README.md").partition("## Which file to open")[2], flags=re.MULTILINE
    )
    assert len(rows) > 10
    for row in rows:
        folder = ""
        for name in re.findall(r"`([^`]+)`", row):
            folder = name.rpartition("/")[0] if "/" in name else folder
            assert (ROOT / "nblstm" / folder / name.rpartition("/")[2]).exists(), name


def assert_defined(name, file):
    """A function, class or constant, or a method of a class, is defined in a file below nblstm/."""
    for part in name.split("."):
        pattern = rf"^ *(?:def|class) {part}\b|^{part}\b.* = "
        assert re.search(pattern, text(f"nblstm/{file}"), flags=re.MULTILINE), f"{name} is not in {file}"


def test_the_walks_in_the_design():
    rows = re.findall(r"^\| `([\w.]+)` \| `([\w/]+\.py)` \|", text("docs/design.md"), flags=re.MULTILINE)
    assert len(rows) > 10
    for name, file in rows:
        assert_defined(name, file)


def test_the_ten_changes():
    table = text("docs/design.md").partition("## Ten changes")[2]
    rows = re.findall(r"^\| .*? \| `([\w/]+\.py)`: `(\w+)` \| ", table, flags=re.MULTILINE)
    assert len(rows) == 10
    for file, name in rows:
        assert_defined(name, file)


def test_the_design_shows_what_source_prints():
    assert f"```text\n{cells.lstm.source().strip()}\n```" in text("docs/design.md")
