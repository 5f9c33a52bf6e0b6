"""The CPU backend: matrix kernels on the vector unit, loops over time, threads."""

from nblstm.cpu.inference import Inference, infer
from nblstm.cpu.layer import backward, forward
from nblstm.cpu.warmup import compile_kernels
from nblstm.cpu.weights import pack_weights

__all__ = ["Inference", "backward", "compile_kernels", "forward", "infer", "pack_weights"]
