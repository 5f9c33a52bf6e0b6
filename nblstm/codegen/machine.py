"""Machine code for this processor: emitted from optimized LLVM code, and loaded into memory. All by llvmlite."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import numba
from llvmlite import binding

from nblstm.process.uninterrupted import uninterrupted


@cache
def processor() -> tuple[str, str, str]:
    """LLVM's triple, name and features of the processor that kernels are compiled for, as Numba chooses them."""
    return uninterrupted(_processor)


def _processor() -> tuple[str, str, str]:
    name, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    return (
        binding.get_process_triple(),
        binding.get_host_cpu_name() if name is None else name,
        _host_features() if features is None else features,
    )


def _host_features() -> str:
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on every processor
        return ""
    if not numba.config.ENABLE_AVX:
        features.update({name: False for name in features if name.startswith("avx")})
    return features.flatten()


def target_machine(triple: str, name: str, features: str, **options) -> binding.TargetMachine:
    """LLVM's back end for a processor."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_triple(triple).create_target_machine(cpu=name, features=features, **options)


@cache
def _here() -> binding.TargetMachine:
    return target_machine(*processor(), opt=numba.config.OPT, codemodel="jitdefault", jit=True)


@cache
def _engine() -> binding.ExecutionEngine:
    """LLVM's linker into the memory of this process, which knows the functions that its C libraries export."""
    # Where Python does not export `erf` and the like, Numba knows those of the C library.
    with suppress(ImportError, AttributeError):
        from numba.core.externals import c_math_functions

        c_math_functions.install(None)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _here())
    if numba.config.ENABLE_PROFILING:
        engine.enable_jit_events()
    return engine


def object_code(module: binding.ModuleRef, function: str, symbol: str) -> bytes:
    """Emit an object file in which a function of a module, here already optimized, is the one symbol to link with."""
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration:
            value.linkage = "external" if value.name == function else "internal"
    module.get_function(function).name = symbol
    return _here().emit_object(module)


def load(code: bytes, symbol: str) -> int:
    """Load an object file, for as long as the process lives, and return the address of its symbol."""
    engine = _engine()
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine.get_function_address(symbol)
