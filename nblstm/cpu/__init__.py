"""The CPU backend: matrix kernels on the vector unit, loops over time, threads."""

from nblstm.cpu.layer import backward, forward
from nblstm.cpu.step import StepPlan
from nblstm.cpu.warmup import compile_kernels
from nblstm.cpu.weights import pack_weights

__all__ = ["StepPlan", "backward", "compile_kernels", "forward", "pack_weights"]
