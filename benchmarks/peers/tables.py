"""The tables: which entrants stand beside each other on which work, and what is made of their figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.peers.work import Work, data
from benchmarks.shapes import COMPUTE_BOUND, IN_TORCH, OWN_CELLS, RAGGED, SHAPES, STEPS, Shape

PEERS = ("torch", "onnxruntime", "jax", "keras")
Medians = dict[str, float]


@dataclass(frozen=True)
class Entrant:
    """One column's figure in one row.

    Attributes
    ----------
    label : str
        The column.
    contender : str
        Whose process computes it.
    work : Work
    method : str
        Of the contender. Entrants with the same work and method must compute the same numbers.
    threads : int
        0 for the number given on the command line.
    """

    label: str
    contender: str
    work: Work
    method: str
    threads: int = 0


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    shape: Shape
    entrants: list[Entrant]

    def among(self, contenders) -> Row:
        """The same row with the entrants of these contenders alone."""
        return Row(self.shape, [entrant for entrant in self.entrants if entrant.contender in contenders])


@dataclass(frozen=True)
class Table:
    """A table: figures of entrants, and ratios of them under the names of their columns."""

    kind: str
    title: str
    note: str
    rows: list[Row]
    ratios: dict[str, Callable[[Row, Medians], float]] = field(default_factory=dict)


def _against_peers(kind: str, title: str, shapes, cells, note: str, peers=PEERS) -> list[Table]:
    """nblstm and its peers, for each cell."""

    def best(row: Row, medians: Medians) -> float:
        return min(medians[peer] for peer in peers if peer in medians) / medians["nblstm"]

    method = "training" if kind == "memory" else kind

    def row(shape, cell):
        work = Work.of(shape, cell)
        return Row(shape, [Entrant(name, name, work, method) for name in ("nblstm", *peers)])

    return [
        Table(kind, f"{title}: {cell.upper()}", note, [row(s, cell) for s in shapes], {"best peer / nblstm": best})
        for cell in cells
    ]


def inference(shapes, cells):
    note = "One layer over a batch of sequences from zero states: all outputs and the final states."
    return _against_peers("inference", "Inference", shapes(SHAPES), cells, note)


def training(shapes, cells):
    note = "Forward and backward: gradients of all parameters, of x and of the initial states."
    return _against_peers("training", "Training", shapes(SHAPES), cells, note)


def training_step(shapes, cells):
    note = "As training, after all parameters were written, as an optimizer does in each step."
    return _against_peers("training_step", "Training with new weights", shapes(SHAPES), cells, note, ("torch",))


def step(shapes, cells):
    note = "One call per time step, the states carried along: `stepper` in nblstm, `LSTMCell` and its like in torch."
    return _against_peers("step", "One streaming step", shapes(STEPS), cells, note, ("torch", "onnxruntime", "jax"))


def memory(shapes, cells):
    note = (
        "By how much the process grows at most in training, beyond weights, x, dy and states as NumPy arrays. "
        "What JAX needs to compile for the shape is included."
    )
    cells = [cell for cell in cells if cell == "lstm"]
    return _against_peers("memory", "Memory of training, MB", shapes(COMPUTE_BOUND), cells, note, ("torch", "jax"))


def ragged(shapes, cells):
    """Sequences of different lengths, beside the same batch padded."""
    tables = []
    for method, padded in (("ragged", "inference"), ("ragged_training", "training")):

        def share(row: Row, medians: Medians) -> float:
            lengths = data(row.entrants[0].work).lengths
            return medians["nblstm"] / (medians["nblstm padded"] * lengths.sum() / (row.shape.T * row.shape.B))

        rows = []
        for shape in shapes(RAGGED):
            for order in ("unsorted", "sorted"):
                work = Work.of(shape, "lstm", order)
                engines = ("nblstm", "torch", "onnxruntime")
                entrants = [Entrant(name, name, work, method) for name in engines]
                entrants += [Entrant(f"{name} padded", name, work, padded) for name in engines]
                rows.append(Row(shape._replace(name=f"{shape.name}, {order}"), entrants))
        ratios = {
            "nblstm / its share of padded": share,
            "torch / nblstm": lambda row, medians: medians["torch"] / medians["nblstm"],
        }
        note = (
            "Lengths uniform in 1..T; padded batches in and out. `lengths=` in nblstm, a `PackedSequence` in torch, "
            "`sequence_lens` in ONNX. *Padded*: the same batch without lengths; its share is the sum of lengths / T B."
        )
        tables.append(Table("ragged", f"Ragged batch, {padded}: LSTM", note, rows, ratios))
    return tables if "lstm" in cells else []


def own_cell(shapes, cells):
    """A cell that no engine has built in."""
    tables = []
    for method in ("inference", "training"):
        rows = []
        for shape in shapes(OWN_CELLS):
            own, built_in = Work.of(shape, "peephole"), Work.of(shape)
            entrants = [Entrant(name, name, own, method) for name in ("nblstm", "torch", "jax")]
            entrants += [Entrant(f"{name} LSTM", name, built_in, method) for name in ("nblstm", "torch")]
            rows.append(Row(shape, entrants))
        ratios = {
            "nblstm / its LSTM": lambda row, medians: medians["nblstm"] / medians["nblstm LSTM"],
            "torch / nblstm": lambda row, medians: medians["torch"] / medians["nblstm"],
        }
        note = "An LSTM with peepholes, written by the user: `nn.Recurrent`, a Python loop on torch, `lax.scan` in JAX."
        tables.append(Table("own_cell", f"A cell of the user's own, {method}", note, rows, ratios))
    return tables


def modules(shapes, cells):
    """Modules of `nblstm.torch` beside those of torch, and beside nblstm without torch."""
    tables = []
    ratios = {
        "torch / module": lambda row, medians: medians["torch"] / medians["module"],
        "module / nblstm": lambda row, medians: medians["module"] / medians["nblstm"],
    }
    note = "The module of `nblstm.torch`, torch's own, and `nblstm.nn`, which packs its weights in each call as well."
    packed = f"{note} Lengths uniform in 1..T, a PackedSequence in and out, `lengths=` in `nblstm.nn`."

    def row(work: Work, shape: Shape, method: str, own: str) -> Row:
        entrants = [Entrant("module", "nblstm_torch", work, method), Entrant("torch", "torch", work, method)]
        return Row(shape, [*entrants, Entrant("nblstm", "nblstm", work, own)])

    for cell in cells:
        for method, own in (("inference", "inference"), ("training", "training_step")):
            rows = [row(Work.of(shape, cell), shape, method, own) for shape in shapes(SHAPES)]
            tables.append(Table("modules", f"Modules of torch, {method}: {cell.upper()}", note, rows, ratios))
    for method in ("ragged", "ragged_training"):
        rows = [row(Work.of(shape), shape, method, method) for shape in shapes(RAGGED)]
        tables.append(Table("modules", f"Modules of torch, {method}: LSTM", packed, rows, ratios))
    rows = []
    for shape in shapes(OWN_CELLS | IN_TORCH):
        work = Work.of(shape, "peephole")
        entrants = [
            (label, name, work, "training_adam") for label, name in (("module", "nblstm_torch"), ("torch",) * 2)
        ]
        rows.append(Row(shape, [Entrant(*entrant) for entrant in entrants]))
    note = "An LSTM with peepholes: `nblstm.torch.Recurrent` and a loop in Python, each with a step of Adam."
    ratio = {"torch / module": ratios["torch / module"]}
    return [*tables, Table("modules", "A cell of the user's own in torch, training", note, rows, ratio)]


def onnx(shapes, cells):
    """One ONNX model, run by `nblstm.onnx` and by onnxruntime."""
    engines = {"nblstm.onnx": "nblstm_onnx", "onnxruntime": "onnxruntime", "nblstm": "nblstm"}
    ratios = {
        "onnxruntime / nblstm.onnx": lambda row, medians: medians["onnxruntime"] / medians["nblstm.onnx"],
        "nblstm.onnx / nblstm": lambda row, medians: medians["nblstm.onnx"] / medians["nblstm"],
    }
    note = "A model of one operator, with all outputs and the final states; beside it the network of `nblstm.nn` alone."
    tables = []
    for method, available in (("inference", SHAPES), ("ragged", RAGGED)):
        for cell in cells:
            rows = [
                Row(shape, [Entrant(label, name, Work.of(shape, cell), method) for label, name in engines.items()])
                for shape in shapes(available)
            ]
            tables.append(Table("onnx", f"ONNX models, {method}: {cell.upper()}", note, rows, ratios))
    return tables


def precision(shapes, cells):
    """bfloat16 beside float32, and torch's."""
    tables = []
    ratios = {
        "float32 / bfloat16": lambda row, medians: medians["float32"] / medians["bfloat16"],
        "torch / bfloat16": lambda row, medians: medians["torch, bfloat16"] / medians["bfloat16"],
    }
    note = (
        'With `precision="bfloat16"` operands of matrix products are rounded; all else is in float32, inputs and '
        "outputs too. torch: the module and its input in bfloat16."
    )
    for cell in cells:
        for method in ("inference", "training"):
            rows = []
            for shape in shapes(SHAPES):
                work, own = Work.of(shape, cell), f"bfloat16_{method}"
                entrants = [Entrant("float32", "nblstm", work, method), Entrant("bfloat16", "nblstm", work, own)]
                rows.append(Row(shape, [*entrants, Entrant("torch, bfloat16", "torch", work, own)]))
            tables.append(Table("precision", f"bfloat16, {method}: {cell.upper()}", note, rows, ratios))
    return tables


def threads(shapes, cells):
    """nblstm alone, on one thread, two, and more than there are cores for."""
    columns, tables = {"1 thread": 1, "2 threads": 2, "8 threads": 8}, []
    for method in ("inference", "training"):
        rows = []
        for shape in shapes(SHAPES):
            work = Work.of(shape)
            rows.append(Row(shape, [Entrant(label, "nblstm", work, method, n) for label, n in columns.items()]))
        ratios = {
            "1 / 2": lambda row, medians: medians["1 thread"] / medians["2 threads"],
            "8 / 2": lambda row, medians: medians["8 threads"] / medians["2 threads"],
        }
        note = "nblstm on the same cores, with as many threads as the columns say."
        tables.append(Table("threads", f"Threads, {method}: LSTM", note, rows, ratios))
    return tables if "lstm" in cells else []


def peak(shapes, cells):
    """How much of the cores' arithmetic is used."""
    rows = []
    for shape in shapes(COMPUTE_BOUND):
        work = Work.of(shape)
        rows.append(Row(shape, [Entrant(m, "nblstm", work, m) for m in ("fma_peak", "inference", "training")]))
    ratios = {
        "inference's share of peak": lambda row, medians: medians["fma_peak"] / medians["inference"],
        "training's share of peak": lambda row, medians: 3 * medians["fma_peak"] / medians["training"],
    }
    note = (
        "*fma_peak*: as many multiply-adds as the matrix products of one forward pass have, in registers alone, on all "
        "threads. Training has three times as many."
    )
    return [Table("peak", "Share of the FMA peak: LSTM", note, rows, ratios)] if "lstm" in cells else []


#: Kinds of work by their names on the command line.
KINDS = {
    kind.__name__: kind
    for kind in (
        inference, training, training_step, step, ragged, own_cell, modules, onnx, precision, threads, peak, memory,
    )
}  # fmt: skip
