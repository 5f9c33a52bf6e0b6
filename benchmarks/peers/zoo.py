"""The cells of torchrecurrent 0.2.5, each as a fused network of nblstm's and as torchrecurrent's module."""

from __future__ import annotations

from functools import partial

from benchmarks.peers.tables import Entrant, Medians, Row, Table
from benchmarks.peers.work import Work
from benchmarks.shapes import Shape

#: Modules of torchrecurrent, whose names in lower case are those in `nblstm.cells`.
MODULES = (
    "AntisymmetricRNN", "GatedAntisymmetricRNN", "ATR", "BR", "NBR", "CFN", "DSGU", "MCLSTM", "MGU", "MinimalRNN",
    "MiRU1", "MiRU2", "coRNN", "FastRNN", "FastGRNN", "IndRNN", "IntersectionRNN", "JANET", "LEM", "LiGRU", "LightRU",
    "MultiplicativeLSTM", "MUT1", "MUT2", "MUT3", "NAS", "OriginalLSTM", "PeepholeLSTM", "RAN", "ResLSTM", "SCRN",
    "SGU", "SGRN", "STAR", "tauGRU", "TRNN", "TGRU", "TLSTM", "UGRNN", "UnICORNN", "WMCLSTM",
)  # fmt: skip

#: Cells of nblstm's that are another by default.
VARIANTS = {"MUT1": lambda cells: cells.mut1_with(True), "MUT2": lambda cells: cells.mut2_with(True)}

SHAPE = Shape("", 100, 32, 128, 128)
METHODS = ("inference", "training")


def cell_of(module: str):
    """The cell of nblstm's for a module of torchrecurrent's."""
    from nblstm import cells

    return VARIANTS[module](cells) if module in VARIANTS else getattr(cells, module.lower())


def multiply_adds_of(module: str, shape: Shape) -> int:
    """Multiply-adds of the matrix products of one forward pass; training has three times as many."""
    cell = cell_of(module)
    inner = len(cell.input_gates) * shape.I + len(cell.recurrent_gates) * shape.H
    return shape.T * shape.B * shape.H * inner


def zoo(shapes, cells) -> list[Table]:
    """One table: LSTM, GRU and RNN beside torch's, then each cell beside torchrecurrent's."""

    def ratio(method: str, row: Row, medians: Medians) -> float:
        return medians[f"peer, {method}"] / medians[f"nblstm, {method}"]

    def most(row: Row, medians: Medians) -> float:
        return medians["peer, training"] / (3 * medians["fma_peak"])

    def reached(row: Row, medians: Medians) -> float:
        return 3 * medians["fma_peak"] / medians["nblstm, training"]

    def row(shape: Shape, cell: str, peer: str) -> Row:
        work = Work.of(shape, cell)
        both = (("nblstm", "nblstm"), ("peer", peer))
        entrants = [Entrant(f"{label}, {m}", name, work, m) for m in METHODS for label, name in both]
        return Row(shape, [*entrants, Entrant("fma_peak", "nblstm", work, "fma_peak")])

    named = {cell.upper(): (cell, "torch") for cell in cells} | {name: (name, "torchrecurrent") for name in MODULES}
    available = shapes({name: SHAPE._replace(name=name) for name in named})
    rows = [row(shape, *named[shape.name]) for shape in available]
    note = (
        "Forward, and forward and backward with the gradients of all parameters and of x, from zero states: a fused "
        "network and torchrecurrent's module, LSTM, GRU and RNN beside torch's own. *fma_peak*: as many multiply-adds "
        "as the matrix products of one forward pass have, in registers alone; training has three times as many, so "
        "*peer / (3 fma_peak)* is the largest ratio that arithmetic allows, and the last column the part of it that is "
        "reached. That the cells compute what they should is tested; torchrecurrent leaves some papers, so numbers are "
        "not compared here."
    )
    ratios = {f"peer / nblstm, {method}": partial(ratio, method) for method in METHODS}
    ratios |= {"peer / (3 fma_peak), training": most, "3 fma_peak / nblstm, training": reached}
    return [Table("zoo", "Cells of torchrecurrent", note, rows, ratios)] if rows else []
