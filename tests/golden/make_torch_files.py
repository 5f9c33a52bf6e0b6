"""Write torch_files/: files as torch and safetensors write them, and what is in them, as .npz.

Run by hand, with torch and safetensors installed: ``python tests/golden/make_torch_files.py``. The tests read the files
and need neither. torch 2.14.1, safetensors 0.8.0.

    types.pt, types_older.pt       each type of numbers, and layouts; in the zip format, and in that before torch 1.6
    checkpoint.pt                  a model under DataParallel, its optimizer, numbers of Python and NumPy
    protocol_4.pt                  pickled by protocol 4
    bfloat16.safetensors           types that NumPy lacks, and others
    expected.npz                   FILE/NAME: the numbers, bfloat16 and float8 as float32; FILE/x and FILE/y of networks
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "torch_files"

TYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip
LATER = [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.uint32, torch.uint64]


class Model(torch.nn.Module):
    """An encoder, a decoder and a head."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True)
        self.decoder = torch.nn.GRU(8, 3, batch_first=True)
        self.head = torch.nn.Linear(3, 2)


def typed(types):
    """A tensor of each type, with numbers that it has."""
    return {str(kind).removeprefix("torch."): torch.tensor([0, 1, 3, 0.5, 2]).to(kind) for kind in types}


def layouts():
    """Tensors that share storages, in several orders and steps."""
    base = torch.arange(60.0).reshape(5, 12)
    return {
        "whole": base, "transposed": base.T, "steps": base[1:4:2, ::3], "row": base[2], "offset": base[3:, 5:],
        "number": torch.tensor(3.5), "none": torch.zeros(0, 4), "parameter": torch.nn.Parameter(base[:2].clone()),
        "permuted": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    }  # fmt: skip


def as_numpy(tensor):
    """The numbers, in a type that NumPy has."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype in (torch.bfloat16, *LATER[:2]) else tensor).numpy()


def main():
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    expected = {}

    def note(file, tensors):
        expected.update({f"{file}/{name}": as_numpy(tensor) for name, tensor in tensors.items()})

    types = typed(TYPES + LATER) | layouts()
    torch.save(types, FOLDER / "types.pt")
    note("types.pt", types)
    types = typed(TYPES) | layouts()
    torch.save(types, FOLDER / "types_older.pt", _use_new_zipfile_serialization=False)
    note("types_older.pt", types)

    model = Model()
    optimizer = torch.optim.SGD(model.head.parameters(), 0.1, momentum=0.9)
    model.head(torch.ones(3)).sum().backward()
    optimizer.step()
    state = torch.nn.DataParallel(model).state_dict()
    torch.save(
        {"epoch": 3, "state_dict": state, "optimizer": optimizer.state_dict(), "best": np.float64(0.5),
         "history": [0.5, 0.25], "words": {"a", "b"}, "device": torch.device("cpu"), "dtype": torch.float32,
         "size": model.head.weight.size(), "steps": np.arange(3)},
        FOLDER / "checkpoint.pt",
    )  # fmt: skip
    note("checkpoint.pt", {f"state_dict.{name}": tensor for name, tensor in state.items()})
    x = torch.randn(6, 2, 3)
    with torch.no_grad():
        y, _ = model.encoder(x)
        note("checkpoint.pt", {"x": x, "y": y, "z": model.decoder(y)[0]})
    gru = torch.nn.GRU(2, 3)
    torch.save(gru.state_dict(), FOLDER / "protocol_4.pt", pickle_protocol=4)
    note("protocol_4.pt", gru.state_dict())

    half = {f"lstm.{name}": value for name, value in torch.nn.LSTM(2, 3).bfloat16().state_dict().items()}
    half |= {name: value.contiguous() for name, value in typed(TYPES + LATER).items()}
    save_file(half, FOLDER / "bfloat16.safetensors", {"format": "pt"})
    note("bfloat16.safetensors", half)
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
