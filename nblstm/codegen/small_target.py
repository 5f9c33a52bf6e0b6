"""A Numba target as large as kernels need: integers, floats, pointers, loops and calls.

It is made of Numba's private parts, and each of them says here which public call does the same more slowly;
`plain_target` is made of those calls, and `target` takes it where this one does not work.

`numba.cfunc` compiles for a process in which anything may follow: it imports the rules for arrays, strings and SciPy,
asks all of them what ``a + b`` means, rewrites array expressions, looks for reference counts to drop, and makes machine
code of each function that will only ever be part of another. The kernels of an LSTM's first epoch take it 4.1 s on one
core, and take this target 2.2 s, with the same results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import _dynfunc
from numba.core import codegen, compiler, cpu, fastmathpass, sigutils, typed_passes, typing, utils
from numba.core import untyped_passes as untyped
from numba.core.ccallback import CFunc
from numba.core.compiler_machinery import PassManager
from numba.core.descriptors import TargetDescriptor
from numba.core.dispatcher import Dispatcher
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_override, target_registry
from numba.core.typing import mathdecl, templates
from numba.cpython import builtins, iterators, mathimpl, numbers, rangeobj, tupleobj  # noqa: F401

_NAME = "nblstm"


class _Typing(typing.Context):
    """Types of functions: Python's own and `math`'s; `numba.njit` adds NumPy's and more."""

    def load_additional_registries(self):
        self.install_registry(mathdecl.registry)

    def _load_builtins(self):
        self.install_registry(templates.builtin_registry)


class _Library(codegen.JITCodeLibrary):
    """LLVM code of a function with all that it calls, optimized once.

    That of a `numba.njit` function is optimized function by function, then twice as a whole, before and after reference
    counts are dropped, then made into machine code.
    """

    def _optimize_functions(self, module):
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self):
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
        """Optimize the code, which is what the caller needs done; there is no address yet."""
        self._ensure_finalized()
        return 0


class _Codegen(codegen.JITCPUCodegen):
    _library_class = _Library


class _Context(cpu.CPUContext):
    """Lowering to LLVM code, by the rules for numbers, tuples, `range` and `math`; `numba.njit` adds 40 modules'."""

    def init(self):
        self._internal_codegen = _Codegen(_NAME)

    def load_additional_registries(self):
        self.install_registry(mathimpl.registry)  # the others' rules are there by their import

    def post_lowering(self, mod, library):
        """Apply the option ``fastmath``; `numba.njit` links the runtime for reference counts here."""
        if self.fastmath:
            fastmathpass.rewrite_module(mod, self.fastmath)

    def create_cfunc_wrapper(self, library, fndesc, env, call_helper):
        """Make the C function around a kernel; `numba.cfunc` adds a branch that prints an exception."""
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
        """Make the object that stands for an inlined function: its own, as Numba keys by it, and not to be called."""
        return _dynfunc.make_function(fndesc.lookup_module(), fndesc.qualname, "", 0, env, (library,))


class _Target(TargetDescriptor):
    """The pair of contexts, as Numba's dispatchers ask for them."""

    options = cpu.CPUTargetOptions

    @utils.threadsafe_cached_property
    def typing_context(self):
        return _Typing()

    @utils.threadsafe_cached_property
    def target_context(self):
        return _Context(self.typing_context, _NAME)


_target = _Target(_NAME)


class _Function(Dispatcher):
    """A function that kernels call: `numba.njit`."""

    targetdescr = _target


class _Kernel(CFunc):
    """A C function: `numba.cfunc`."""

    _targetdescr = _target


class _Pipeline(compiler.CompilerBase):
    """Numba's passes, without those that rewrite array expressions, generators, `with` blocks and parallel loops."""

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


class _Hardware(CPU):
    """The target in Numba's tables, where `numba.njit` has "cpu"."""


def _overload(**options) -> Callable[[Callable], Dispatcher]:
    """Return what compiles functions that Numba has in Python; it is asked for with every ``==``, and not used."""
    return lambda implementation: _Function(implementation, targetoptions={"forceinline": True, **options})


target_registry[_NAME] = _Hardware
dispatcher_registry[_Hardware] = _Function
jit_registry[_Hardware] = _overload


def function(python: Callable, options: dict) -> Dispatcher:
    """Return what kernels call for a Python function: `numba.njit`."""
    return _Function(python, targetoptions={"nopython": True, **options}, pipeline_class=_Pipeline)


def llvm_code(python: Callable, signature, options: dict) -> tuple[binding.ModuleRef, str]:
    """Compile a kernel as far as optimized LLVM code, and return it with the name of its C function: `numba.cfunc`."""
    kernel: Any = _Kernel(python, sigutils.normalize_signature(signature), {}, {"nopython": True, **options}, _Pipeline)
    with target_override(_NAME):
        kernel.compile()
    return kernel._library._final_module, kernel.native_name
