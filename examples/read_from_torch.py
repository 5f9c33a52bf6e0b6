"""A network that torch has trained reads digits here, row by row; then it goes on to onnxruntime."""

from importlib.util import find_spec
from pathlib import Path
from timeit import repeat

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from nblstm import nn

FILE = Path(__file__).parent / "data/digits_torch.pt"  # by data/make_digits_torch.py, whose model has lstm and head
(output := Path(__file__).parent / "output").mkdir(exist_ok=True)
lstm, head = nn.load(FILE, prefix="lstm."), nn.load(FILE, prefix="head.")
x, digits = load_digits(return_X_y=True)
x = (x.astype("float32") / 8 - 1).reshape(-1, 8, 8)[-360:].swapaxes(0, 1)  # (8 rows, 360 digits, 8 pixels), held out
digits = digits[-360:]


def by_rows(step):
    """Probabilities (8, 360, 10) after each row of all digits; ``step`` gives logits of a row (360, 8)."""
    logits = np.array([step(row) for row in x], "float64")
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


# In a stream: the stepper has the states.
stepper = lstm.stepper(batch_size=360)
p = by_rows(lambda row: head(stepper(row)))
right = (p.argmax(axis=-1) == digits).mean(axis=1)
print("Right after each row:", *(f"{share:.1%}" for share in right))
print(f"Held out: {right[-1]:.1%} of 360 digits are right after the last row\n")

one = lstm.stepper()
us = {"nblstm, stepper": 1e3 * min(repeat(lambda: one(x[0, 0]), number=1000, repeat=5))}
missing = [name for name in ("onnx", "onnxruntime", "torch") if find_spec(name) is None]
if {"onnx", "onnxruntime"} & {*missing}:
    print("onnxruntime is left out: no", " and no ".join(missing), "here")
else:
    import onnxruntime

    import nblstm.onnx

    nblstm.onnx.export(lstm, output / "lstm.onnx")
    nblstm.onnx.export(head, output / "head.onnx")
    (settings := onnxruntime.SessionOptions()).intra_op_num_threads = 1  # more would wait for each other
    there, last = (onnxruntime.InferenceSession(output / f"{name}.onnx", settings) for name in ("lstm", "head"))

    def step(row, states):
        """Advance h and c, (1, B, 32) each, in onnxruntime, and return the outputs (B, 32)."""
        y, states["h_0"], states["c_0"] = there.run(None, {"x": row[None], **states})
        return y[0]

    states, own = (dict.fromkeys(("h_0", "c_0"), np.zeros((1, B, 32), "float32")) for B in (360, 1))
    again = by_rows(lambda row: last.run(None, {"x": step(row, states)})[0])
    print(f"onnxruntime's probabilities differ by at most {abs(again - p).max():.0e}")
    us["onnxruntime"] = 1e3 * min(repeat(lambda: step(x[0, :1], own), number=1000, repeat=5))
if "torch" in missing:
    print("torch is left out: it is not here")
else:
    import torch

    was = torch.nn.LSTM(8, 32)
    was.load_state_dict({name: torch.as_tensor(value) for name, value in lstm.state_dict().items()})
    theirs = was(torch.as_tensor(x))[0].detach().numpy()
    print(f"torch's outputs differ by at most {abs(theirs - lstm(x)[0]).max():.0e}")
print(*(f"A row of one digit, {name:16}{each:6.1f} us" for name, each in us.items()), sep="\n")

figure = Figure(figsize=(10, 3.8), layout="constrained")
wrong = np.flatnonzero(p[-1].argmax(axis=-1) != digits)
shown = [*np.flatnonzero(p[-1].argmax(axis=-1) == digits)[[0, 12, 33, 50, 71]], *wrong[[0, 5, 9]]]
for k, (image, said) in zip(shown, figure.subplots(2, 8).T, strict=True):
    image.imshow(x[:, k], cmap="Greys")
    image.set(title=f"a {digits[k]}", xticks=[], yticks=[])
    said.imshow(p[:, k], cmap="Blues", vmin=0, vmax=1)
    said.set(title=f"read as {p[-1, k].argmax()}", xticks=[0, 3, 6, 9], yticks=[])
figure.suptitle("Digits of other writers, and what they are taken for after each row (0 to 9)")
figure.savefig(output / "read_from_torch.png", dpi=200)
print("Picture:", output / "read_from_torch.png")
