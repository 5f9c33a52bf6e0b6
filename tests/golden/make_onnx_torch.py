"""Write onnx_torch.npz: ONNX files of torch's two exporters, and torch's own numbers.

Run by hand, with torch and onnxscript installed, where a case is added::

    python tests/golden/make_onnx_torch.py

The tests read the file and need no torch. Its arrays are ``EXPORTER CASE file``, the file's bytes, and ``CASE input k``
and ``CASE output k``: inputs of other sizes than at export, and what torch computes of them.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

warnings.filterwarnings("ignore")
torch.manual_seed(1)
I, H = 3, 4


class Classifier(nn.Module):
    """The last step's output, through a linear layer and softmax."""

    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(I, H, batch_first=True), nn.Linear(H, 2)

    def forward(self, x):
        return torch.softmax(self.out(self.lstm(x)[0][:, -1]), -1)


class Tagger(nn.Module):
    """An embedding, two bidirectional layers, and log-probabilities of each step."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, I)
        self.gru = nn.GRU(I, H, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(2 * H, 3)

    def forward(self, tokens):
        return torch.log_softmax(self.out(self.gru(self.embedding(tokens))[0]), -1)


class Stepper(nn.Module):
    """States in and out, time first."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(I, H, num_layers=2)

    def forward(self, x, h, c):
        y, (h, c) = self.lstm(x, (h, c))
        return y, h, c


class Convolutional(nn.Module):
    """Convolution, batch normalisation and pooling before the recurrence, layer normalisation and GELU behind it."""

    def __init__(self):
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(I, 5, 3, padding=1), nn.BatchNorm1d(5), nn.ReLU(), nn.MaxPool1d(2))
        self.lstm, self.norm, self.out = nn.LSTM(5, H, batch_first=True), nn.LayerNorm(H), nn.Linear(H, 2)

    def forward(self, x):
        y, _ = self.lstm(self.front(x).transpose(1, 2))
        return torch.sigmoid(self.out(nn.functional.gelu(self.norm(y))).mean(1))


class Simple(nn.Module):
    """A plain recurrence with relu."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(I, H, nonlinearity="relu", bias=False)

    def forward(self, x):
        return self.rnn(x)


class Packed(nn.Module):
    """A packed sequence, which the older exporter writes with sequence_lens."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(I, H, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, (h, _) = self.lstm(packed)
        return pad_packed_sequence(y, batch_first=True)[0], h


def normal(*shape):
    return torch.randn(*shape)


BT = {0: "B", 1: "T"}
#: The model, inputs at export and others, names and dynamic sizes, and the exporters that can write it. The newer one
#: fixes T where the time comes first or is pooled.
CASES = {
    "classifier": (Classifier, (normal(2, 5, I),), (normal(3, 8, I),), {"x": BT}, ["legacy", "dynamo"]),
    "tagger": (
        Tagger, (torch.randint(7, (2, 5)),), (torch.randint(7, (3, 8)),), {"tokens": BT}, ["legacy", "dynamo"],
    ),
    "stepper": (
        Stepper, (normal(5, 2, I), normal(2, 2, H), normal(2, 2, H)),
        (normal(5, 3, I), normal(2, 3, H), normal(2, 3, H)),
        {"x": {0: "T", 1: "B"}, "h": {1: "B"}, "c": {1: "B"}}, ["legacy", "dynamo"],
    ),
    "convolutional": (
        Convolutional, (normal(2, I, 8),), (normal(3, I, 8),), {"x": {0: "B", 2: "T"}}, ["legacy", "dynamo"],
    ),
    "simple": (Simple, (normal(5, 2, I),), (normal(6, 3, I),), {"x": {0: "T", 1: "B"}}, ["legacy"]),
    "packed": (
        Packed, (normal(2, 5, I), torch.tensor([5, 3])), (normal(3, 6, I), torch.tensor([4, 6, 1])),
        {"x": BT, "lengths": {0: "B"}}, ["legacy"],
    ),
}  # fmt: skip


def exported(model, inputs, dynamic, exporter):
    """The bytes of a file."""
    names = list(dynamic)
    if exporter == "legacy":
        file = io.BytesIO()
        torch.onnx.export(model, inputs, file, input_names=names, dynamic_axes=dynamic, dynamo=False)
        return file.getvalue()
    dims: dict[str, object] = {}
    shapes = {
        name: {axis: dims.setdefault(size, torch.export.Dim(size, min=2)) for axis, size in axes.items()}
        for name, axes in dynamic.items()
    }
    program = torch.onnx.export(model, inputs, dynamo=True, dynamic_shapes=shapes, input_names=names)
    return program.model_proto.SerializeToString()


def main():
    arrays = {}
    for name, (make, at_export, others, dynamic, exporters) in CASES.items():
        torch.manual_seed(0)
        model = make()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):  # numbers other than 0 and 1
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        model.eval()
        with torch.no_grad():
            results = model(*others)
        for exporter in exporters:
            key = f"{exporter} {name}"
            content = exported(model, at_export, dynamic, exporter)
            arrays[f"{key} file"] = np.frombuffer(content, np.uint8)
            print(key, len(content))
        arrays |= {f"{name} input {k}": value.numpy() for k, value in enumerate(others)}
        results = results if isinstance(results, tuple) else (results,)
        arrays |= {f"{name} output {k}": value.numpy() for k, value in enumerate(results)}
    np.savez_compressed(Path(__file__).parent / "onnx_torch.npz", **arrays)


if __name__ == "__main__":
    main()
