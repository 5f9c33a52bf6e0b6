"""What is printed reaches any stdout: Windows's cp1252, ASCII, none at all."""

import ast
import io
import sys
from pathlib import Path

import numpy as np
import pytest

import nblstm
from nblstm.layers import Dense, Input
from nblstm.models import Sequential
from nblstm.training import callbacks

X = np.ones((4, 3))


def größe(y_true, y_pred):
    return np.abs(y_pred - y_true).mean(axis=-1)


def printed(monkeypatch, encoding, call):
    """The text that a stdout of an encoding gets."""
    file = io.BytesIO()
    stream = io.TextIOWrapper(file, encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    call()
    stream.flush()
    monkeypatch.undo()
    return file.getvalue().decode(encoding)


def model():
    made = Sequential([Input((3,)), Dense(2, name="größe"), Dense(1, name="словарь")], name="m", seed=0)
    made.compile("sgd", "mse", metrics=[größe])
    return made


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "cp437"])
def test_a_summary(monkeypatch, encoding):
    lines = printed(monkeypatch, encoding, model().summary).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "Non-trainable params: 0"
    upright = "│" if encoding in ("utf-8", "cp437") else "|"
    corner = {"utf-8": "┌──", "cp437": "┌──"}.get(encoding, "+--")
    assert lines[1].startswith(corner)
    assert lines[2].startswith(f"{upright} Layer (type) ")
    assert lines[4].startswith(f"{upright} größe (Dense)" if encoding != "ascii" else r"| gr\xf6\xdfe (Dense)")
    word = "словарь" if encoding == "utf-8" else r"\u0441\u043b\u043e\u0432\u0430\u0440\u044c"
    assert lines[5].startswith(f"{upright} {word} (Dense)")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_fit_and_its_callbacks(monkeypatch, encoding, tmp_path):
    def fit():
        model().fit(
            X, X[:, :1], epochs=2, verbose=2,
            callbacks=[
                callbacks.ModelCheckpoint(tmp_path / "слово.nblstm", "größe", 1, save_best_only=True, mode="min"),
                callbacks.EarlyStopping("größe", verbose=1, patience=0, min_delta=9, mode="min"),
                callbacks.CSVLogger(tmp_path / "log.csv"),
            ],
        )  # fmt: skip

    shown = printed(monkeypatch, encoding, fit)
    name = "größe" if encoding != "ascii" else r"gr\xf6\xdfe"
    assert f" - {name}: " in shown
    assert f"{name} improved from nothing" in shown
    assert ("слово.nblstm" in shown) == (encoding == "utf-8")
    assert "Epoch 2: early stopping" in shown
    assert (tmp_path / "log.csv").read_text(encoding="utf-8").startswith("epoch,größe,loss")


def test_without_a_stdout(monkeypatch):
    """As in a program without a console, and where text is gathered in memory."""
    monkeypatch.setattr(sys, "stdout", None)
    model().summary()
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    model().summary()
    monkeypatch.undo()
    assert "┌─" in text.getvalue()


def test_all_that_models_print_goes_one_way():
    """No `print` to stdout elsewhere; stderr escapes what it cannot encode by itself."""
    root = Path(nblstm.__file__).parent
    files = [path for part in ("models", "training", "layers", "nn") for path in (root / part).rglob("*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                assert any(keyword.arg == "file" for keyword in node.keywords), f"{path}: use nblstm.process.show"
