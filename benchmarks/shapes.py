"""The shapes that the benchmarks use: one layer, float32. Dimension letters: T time, B batch, I input, H hidden."""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """Sizes of a benchmark's input and network."""

    name: str
    T: int
    B: int
    I: int
    H: int


_ALL = (
    Shape("stream1_h64", 1, 1, 64, 64),
    Shape("stream1_h256", 1, 1, 256, 256),
    Shape("stream1_h512", 1, 1, 512, 512),
    Shape("seq100_b1_h128", 100, 1, 128, 128),
    Shape("seq100_b1_h512", 100, 1, 512, 512),
    Shape("seq1000_b1_h64", 1000, 1, 64, 64),
    Shape("binary", 10, 32, 64, 32),
    Shape("mnist", 28, 128, 28, 128),
    Shape("chargen", 40, 128, 57, 128),
    Shape("forecast", 100, 32, 1, 100),
    Shape("mid", 64, 64, 256, 256),
    Shape("large", 50, 64, 512, 512),
    Shape("xl", 32, 128, 1024, 1024),
)

#: What a recurrent layer is asked to do in programs that people write, from one streaming step to a large batch.
SHAPES = {shape.name: shape for shape in _ALL}

#: One streaming step.
STEPS = {name: shape for name, shape in SHAPES.items() if name.startswith("stream1_")}

#: Large enough that arithmetic alone should decide: these are held against the FMA peak and against one thread.
COMPUTE_BOUND = {name: SHAPES[name] for name in ("mid", "large", "xl")}

#: A cell of the user's own.
OWN_CELL = Shape("own_cell", 100, 32, 64, 128)

#: The same beside the peers: from where a loop in Python is what takes time to where arithmetic is.
OWN_CELLS = {name: SHAPES[name] for name in ("seq100_b1_h128", "binary")} | {
    OWN_CELL.name: OWN_CELL,
    "mid": SHAPES["mid"],
}

#: The same inside a model of torch's, with an optimizer: many steps, and a batch of text.
IN_TORCH = {shape.name: shape for shape in (Shape("long", 500, 8, 32, 32), Shape("seq100_b32", 100, 32, 128, 128))}

#: Batches of sequences of different lengths.
RAGGED = {"ragged": Shape("ragged", 100, 32, 64, 128), "mid": SHAPES["mid"], "large": SHAPES["large"]}

#: Sequences that are cut by resets.
CUT = Shape("cut", 100, 32, 128, 128)

#: Text, character by character, as examples/generate_text.py reads it: a window, and a batch of them.
CHARACTERS = {shape.name: shape for shape in (Shape("one", 40, 1, 103, 128), Shape("batch", 40, 128, 103, 128))}

#: Gates of each cell; a network of G gates has G blocks of H rows in each of its matrices.
GATES = {"lstm": 4, "gru": 3, "rnn": 1, "peephole": 4}


def multiply_adds(shape: Shape, cell: str = "lstm") -> int:
    """Multiply-adds of the matrix products of one forward pass; training has three times as many."""
    return shape.T * shape.B * (shape.I + shape.H) * GATES[cell] * shape.H
