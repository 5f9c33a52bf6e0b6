"""The README's Python, as a user would paste it: one snippet after another, in an empty folder."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)


def test_the_snippets_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    use, own_cell, model = SNIPPETS
    names = {}
    for snippet in (use, own_cell):
        exec(compile(snippet, README.name, "exec"), names)
    printed = capsys.readouterr().out
    assert "'p_l0_reverse'" in printed
    assert "def backward(" in printed

    random = np.random.default_rng(0)
    names |= {"x": random.normal(size=(60, 10, 64)), "y": random.integers(2, size=60)}
    exec(compile(model, README.name, "exec"), names)
    assert capsys.readouterr().out.startswith("Epoch 1/50 - 2/2")
    assert 0 <= names["accuracy"] <= 1
    assert not list(tmp_path.glob("backup*"))
    loaded = names["load_model"]("model.nblstm")
    np.testing.assert_array_equal(loaded.predict(names["x"]), names["model"].predict(names["x"]))
