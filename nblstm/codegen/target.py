"""A target of Numba's that is as large as kernels need: integers, floats, pointers, loops and calls.

Numba's own compiles for a process in which anything may follow: it imports what it knows of arrays, strings and SciPy,
asks all of it what ``a + b`` means, rewrites array expressions, looks for reference counts to drop, and makes machine
code of each function that will only ever be part of another. What the first epoch of an LSTM needs took it 4.1 s
on one core, and takes this target 2.2, with the same results. Numba's own is left as it is, for whoever uses Numba.

It is made of what Numba provides for other targets: contexts, a dispatcher, a pipeline of its passes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import _dynfunc, types
from numba.core import codegen, compiler, cpu, externals, fastmathpass, imputils, sigutils, typed_passes, typing, utils
from numba.core import untyped_passes as untyped
from numba.core.ccallback import CFunc
from numba.core.compiler_machinery import PassManager
from numba.core.descriptors import TargetDescriptor
from numba.core.dispatcher import Dispatcher
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_override, target_registry
from numba.core.typing import templates

from nblstm.codegen.options import CALL, INLINE, KERNEL
from nblstm.process.uninterrupted import uninterrupted

_NAME = "nblstm"


class _Typing(typing.Context):
    """What functions there are, and what they return: Python's own, `math`'s, and those of `numpy` below."""

    def load_additional_registries(self):
        from numba.core.typing import mathdecl

        self.install_registry(mathdecl.registry)
        self.install_registry(_typed)

    def _load_builtins(self):
        self.install_registry(templates.builtin_registry)


class _Library(codegen.JITCodeLibrary):
    """The code of a function with all that it calls; machine code only when its address is asked for."""

    _compiled_for_calls = False

    def _optimize_functions(self, module):
        """Nothing: the passes over whole modules do the same."""
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self):
        """Once: Numba's first round serves reference counts."""
        made = self._codegen._module_pass_manager()
        if isinstance(made, tuple):
            manager, builder = made
            manager.run(self._final_module, builder)
        else:  # before Numba 0.62
            made.run(self._final_module)

    def finalize(self):
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._optimize_final_module()
        self._final_module.verify()
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        if not self._compiled_for_calls:
            self._finalize_final_module()
        return super().get_pointer_to_function(name)

    def _finalize_final_module(self):
        self._compiled_for_calls = True
        super()._finalize_final_module()


class _Codegen(codegen.JITCPUCodegen):
    _library_class = _Library


class _Context(cpu.CPUContext):
    """How functions become LLVM code."""

    def init(self):
        self.is32bit = utils.MACHINE_BITS == 32
        self._internal_codegen = _Codegen(_NAME)
        externals.c_math_functions.install(self)

    def load_additional_registries(self):
        from numba.cpython import builtins, iterators, mathimpl, numbers, rangeobj, tupleobj  # noqa: F401  by import

        self.install_registry(mathimpl.registry)
        self.install_registry(_lowered)

    def post_lowering(self, mod, library):
        if self.fastmath:
            fastmathpass.rewrite_module(mod, self.fastmath)

    def create_cfunc_wrapper(self, library, fndesc, env, call_helper):
        """The C function, without what Numba's does for exceptions: kernels raise none."""
        module = self.create_module("c_function")
        native = self.call_conv.get_function_type(fndesc.restype, fndesc.argtypes)
        c = ir.FunctionType(
            self.get_value_type(fndesc.restype), [self.get_value_type(kind) for kind in fndesc.argtypes]
        )
        function = ir.Function(module, c, fndesc.llvm_cfunc_wrapper_name)
        builder = ir.IRBuilder(function.append_basic_block())
        _, result = self.call_conv.call_function(
            builder, ir.Function(module, native, fndesc.llvm_func_name), fndesc.restype, fndesc.argtypes, function.args,
            attrs=("noinline",),
        )  # fmt: skip
        builder.ret(result)
        library.add_ir_module(module)

    def get_executable(self, library, fndesc, env):
        """What stands for an inlined function: an object of its own, which cannot be called."""
        return _dynfunc.make_function(fndesc.lookup_module(), fndesc.qualname, "", 0, env, (library,))


class _Target(TargetDescriptor):
    options = cpu.CPUTargetOptions

    @utils.threadsafe_cached_property
    def typing_context(self):
        return _Typing()

    @utils.threadsafe_cached_property
    def target_context(self):
        return _Context(self.typing_context, _NAME)


class _Hardware(CPU):
    """What Numba knows a target by."""


target_registry[_NAME] = _Hardware
_target = _Target(_NAME)


class _Inlined(Dispatcher):
    targetdescr = _target


class _Kernel(CFunc):
    _targetdescr = _target


class _Pipeline(compiler.CompilerBase):
    """Numba's passes but for those that rewrite what kernels do not have."""

    def define_pipelines(self):
        manager = PassManager("kernel")
        for step in (
            untyped.TranslateByteCode, untyped.FixupArgs, untyped.IRProcessing, untyped.DeadBranchPrune,
            untyped.ReconstructSSA, typed_passes.NopythonTypeInference, typed_passes.PreLowerStripPhis,
            typed_passes.IRLegalization, typed_passes.NativeLowering, typed_passes.NoPythonBackend,
        ):  # fmt: skip
            manager.add_pass(step, step.__name__)
        manager.finalize()
        return [manager]


def inlined(function: Callable) -> Dispatcher:
    """A function that disappears into the kernels that call it; see `options.INLINE`."""
    return _Inlined(function, targetoptions={"nopython": True, **INLINE}, pipeline_class=_Pipeline)


def called(function: Callable) -> Dispatcher:
    """A function that kernels call, unless LLVM inlines it: for one that is large, called twice, and not in a loop."""
    return _Inlined(function, targetoptions={"nopython": True, **CALL}, pipeline_class=_Pipeline)


def kernel(function: Callable, signature) -> Any:
    """A C function, compiled, as one of Numba's `CFunc`; see `options.KERNEL`."""
    made = _Kernel(function, sigutils.normalize_signature(signature), {}, {"nopython": True, **KERNEL}, _Pipeline)
    with target_override(_NAME):
        made.compile()
    return made


def machine() -> codegen.JITCPUCodegen:
    """What kernels are compiled with and for; to be asked for, and used, in `uninterrupted` work."""
    return _target.target_context.codegen()


@cache
def processor() -> tuple[str, str, str]:
    """What is compiled for: LLVM's triple, name and features of the CPU."""
    return uninterrupted(lambda: machine().magic_tuple())


def _overloads(**options) -> Callable[[Callable], Dispatcher]:
    """How Numba compiles what it implements in Python, of which kernels need little."""
    return lambda function: _Inlined(function, targetoptions={**INLINE, **options})


dispatcher_registry[_Hardware] = _Inlined
jit_registry[_Hardware] = _overloads

_typed, _lowered = templates.Registry(), imputils.Registry(_NAME)


def _on_scalars(function: Callable, arguments: int) -> Callable:
    """Register how a function of NumPy's is done for floats, without all that Numba has for arrays."""

    class Typed(templates.ConcreteTemplate):
        key = function
        cases = [typing.signature(*[real] * (1 + arguments)) for real in (types.float32, types.float64)]  # noqa: RUF012

    _typed.register_global(function, types.Function(Typed))
    return _lowered.lower(function, *[types.Float] * arguments)


@_on_scalars(np.sqrt, 1)
def _sqrt(context, builder, signature, args):
    return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [args[0].type]), args)


@_on_scalars(np.maximum, 2)
def _maximum(context, builder, signature, args):
    a, b = args
    first = builder.or_(builder.fcmp_ordered(">=", a, b), builder.fcmp_unordered("uno", a, a))
    return builder.select(first, a, b)
