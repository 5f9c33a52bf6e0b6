"""Cells: the equations of each recurrent network, and how equations become graphs and gradients."""

from importlib import import_module
from typing import TYPE_CHECKING

from nblstm.arguments.missing import missing
from nblstm.cells.cell import Cell, cell
from nblstm.cells.clipped import clipped
from nblstm.cells.gru import gru, gru_reset_before, gru_with
from nblstm.cells.lstm import lstm, lstm_complement, lstm_coupled, lstm_peephole, lstm_with
from nblstm.cells.noisy import gaussian_noise, variational, zoneout
from nblstm.cells.projection import projected
from nblstm.cells.recurrent_dropout import recurrent_dropout
from nblstm.cells.recurrent_matrix import RecurrentMatrix, antisymmetric, dropconnect, heads, low_rank
from nblstm.cells.rnn import rnn_relu, rnn_tanh, rnn_with

if TYPE_CHECKING:
    from nblstm.cells.additive import ran
    from nblstm.cells.antisymmetric_rnn import (
        antisymmetricrnn,
        antisymmetricrnn_with,
        gatedantisymmetricrnn,
        gatedantisymmetricrnn_with,
    )
    from nblstm.cells.bistable import br, nbr
    from nblstm.cells.chaos_free import cfn
    from nblstm.cells.deep_gate import dsgu, sgu
    from nblstm.cells.delayed import taugru, taugru_with
    from nblstm.cells.early_lstm import originallstm
    from nblstm.cells.exponential_gates import slstm, slstm_with
    from nblstm.cells.expressive_memory import lem, lem_with
    from nblstm.cells.fast import fastgrnn, fastgrnn_with, fastrnn, fastrnn_with
    from nblstm.cells.forget_gate_alone import janet, janet_with
    from nblstm.cells.highway import rhn, rhn_with, sru
    from nblstm.cells.independent import indrnn, indrnn_with
    from nblstm.cells.intersection import intersectionrnn
    from nblstm.cells.layer_norm import layer_norm_gru, layer_norm_lstm
    from nblstm.cells.light import lightru, ligru
    from nblstm.cells.memory_controller import mclstm
    from nblstm.cells.minimal import mgu, mingru, minimalrnn, minlstm, ugrnn
    from nblstm.cells.minion import miru1, miru1_with, miru2, miru2_with
    from nblstm.cells.multiplicative import multiplicativelstm
    from nblstm.cells.oscillators import cornn, cornn_with, unicornn, unicornn_with
    from nblstm.cells.residual import reslstm
    from nblstm.cells.searched import mut1, mut1_with, mut2, mut2_with, mut3, nas
    from nblstm.cells.simple_gated import sgrn
    from nblstm.cells.stackable import star
    from nblstm.cells.strongly_typed import tgru, tlstm, trnn
    from nblstm.cells.structurally_constrained import scrn, scrn_with
    from nblstm.cells.time_gaps import (
        cfc,
        cfc_with,
        ct_lstm,
        gru_d,
        gru_d_input,
        phased_lstm,
        phased_lstm_with,
        time_aware_lstm,
    )
    from nblstm.cells.twin_gated import atr
    from nblstm.cells.working_memory import wmclstm

#: torchrecurrent's name for it.
peepholelstm = lstm_peephole

#: Cells of the literature, by the file that is imported when one of them is first asked for.
_LATER = {
    "additive": "ran",
    "antisymmetric_rnn": "antisymmetricrnn antisymmetricrnn_with gatedantisymmetricrnn gatedantisymmetricrnn_with",
    "bistable": "br nbr",
    "chaos_free": "cfn",
    "deep_gate": "dsgu sgu",
    "delayed": "taugru taugru_with",
    "early_lstm": "originallstm",
    "exponential_gates": "slstm slstm_with",
    "expressive_memory": "lem lem_with",
    "fast": "fastgrnn fastgrnn_with fastrnn fastrnn_with",
    "forget_gate_alone": "janet janet_with",
    "highway": "rhn rhn_with sru",
    "independent": "indrnn indrnn_with",
    "intersection": "intersectionrnn",
    "layer_norm": "layer_norm_gru layer_norm_lstm",
    "light": "lightru ligru",
    "memory_controller": "mclstm",
    "minimal": "mgu mingru minimalrnn minlstm ugrnn",
    "minion": "miru1 miru1_with miru2 miru2_with",
    "multiplicative": "multiplicativelstm",
    "oscillators": "cornn cornn_with unicornn unicornn_with",
    "residual": "reslstm",
    "searched": "mut1 mut1_with mut2 mut2_with mut3 nas",
    "simple_gated": "sgrn",
    "stackable": "star",
    "strongly_typed": "tgru tlstm trnn",
    "structurally_constrained": "scrn scrn_with",
    "time_gaps": "cfc cfc_with ct_lstm gru_d gru_d_input phased_lstm phased_lstm_with time_aware_lstm",
    "twin_gated": "atr",
    "working_memory": "wmclstm",
}  # fmt: skip

_FILES = {name: file for file, names in _LATER.items() for name in names.split()}

__all__ = [
    "Cell", "RecurrentMatrix", "antisymmetric", "antisymmetricrnn", "antisymmetricrnn_with", "atr", "br", "cell",
    "cfc", "cfc_with", "cfn", "clipped", "cornn", "cornn_with", "ct_lstm", "dropconnect", "dsgu",
    "fastgrnn", "fastgrnn_with",
    "fastrnn", "fastrnn_with", "gatedantisymmetricrnn", "gatedantisymmetricrnn_with", "gaussian_noise", "gru",
    "gru_d", "gru_d_input", "gru_reset_before", "gru_with", "heads", "indrnn", "indrnn_with", "intersectionrnn",
    "janet", "janet_with", "layer_norm_gru", "layer_norm_lstm", "lem", "lem_with", "lightru", "ligru", "low_rank",
    "lstm", "lstm_complement", "lstm_coupled", "lstm_peephole", "lstm_with", "mclstm", "mgu", "mingru",
    "minimalrnn", "minlstm", "miru1", "miru1_with", "miru2", "miru2_with", "multiplicativelstm", "mut1",
    "mut1_with", "mut2", "mut2_with", "mut3", "nas", "nbr", "originallstm", "peepholelstm", "phased_lstm",
    "phased_lstm_with", "projected", "ran", "recurrent_dropout", "reslstm", "rhn", "rhn_with", "rnn_relu",
    "rnn_tanh", "rnn_with", "scrn", "scrn_with", "sgrn", "sgu", "slstm", "slstm_with", "sru", "star", "taugru",
    "taugru_with", "tgru", "time_aware_lstm", "tlstm", "trnn", "ugrnn", "unicornn", "unicornn_with", "variational",
    "wmclstm", "zoneout",
]  # fmt: skip


def __getattr__(name: str):
    if name not in _FILES:
        raise missing(__name__, name)
    found = getattr(import_module(f"nblstm.cells.{_FILES[name]}"), name)
    globals()[name] = found
    return found


def is_imported_later(name: str) -> bool:
    """Say if ``name`` is a cell, or a function that makes one, whose file is imported when it is first asked for."""
    return name in _FILES


def __dir__() -> list[str]:
    return __all__
