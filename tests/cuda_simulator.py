"""A GPU in Python, for kernels on small shapes: all blocks run at once, thread by thread, in any order.

Each thread of a kernel becomes a generator, which stops wherever threads wait for each other: a barrier of the block,
a shuffle of the warp, a look at a counter that other blocks add to. Between two such places a thread runs alone, and
the order in which threads are resumed is shuffled anew each time. What hardware leaves to luck is an error here: a read
or write outside an array, an access to shared memory that no barrier orders, a barrier that some threads of a block
never reach, an unaligned access of 16 bytes, threads that wait for each other for ever.
"""

from __future__ import annotations

import ast
import inspect
import math
import random
import textwrap
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np

from nblstm.codegen.scalar import functions_for
from nblstm.cuda.gpu import Gpu

WARP = 32
QUAD = 4


class SimulatedError(AssertionError):
    """A kernel did what hardware would not forgive, or only by luck."""


# --- memory ----------------------------------------------------------------------------------------


@dataclass
class Memory:
    """An array, with a record of who touched shared memory since the last barrier."""

    values: np.ndarray
    shared: bool = False
    touched: dict = field(default_factory=dict)  # index -> (threads that read, threads that wrote)

    def access(self, index: int, count: int, write: bool) -> None:
        if not (index >= 0 and index + count <= self.values.size):
            kind = "shared memory" if self.shared else "an array"
            raise SimulatedError(f"index {index} (and {count} numbers) is outside {kind} of {self.values.size}")
        if self.shared:
            thread = _running.thread
            for k in range(index, index + count):
                readers, writers = self.touched.setdefault(k, (set(), set()))
                (writers if write else readers).add(thread)
                if writers - {thread} or (write and readers - {thread}):
                    raise SimulatedError(f"shared number {k}: threads {readers | writers} with no barrier between them")


class Pointer:
    """A typed pointer into a `Memory`."""

    __slots__ = ("at", "memory")

    def __init__(self, memory: Memory, at: int):
        self.memory, self.at = memory, at

    def __getitem__(self, k):
        self.memory.access(self.at + k, 1, False)
        value = self.memory.values[self.at + k]
        return int(value) if isinstance(value, np.integer) else value

    def __setitem__(self, k, value):
        self.memory.access(self.at + k, 1, True)
        self.memory.values[self.at + k] = value

    def quad(self, k, write=False) -> slice:
        start = self.at + k
        if start % QUAD:
            raise SimulatedError(f"16 bytes at number {start} are not aligned")
        self.memory.access(start, QUAD, write)
        return slice(start, start + QUAD)


def pointer_to(array: np.ndarray) -> Pointer:
    """A pointer to an array's first number; accesses may go anywhere in the memory that the array is a view of."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert base.flags.c_contiguous
    distance = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return Pointer(Memory(base.reshape(-1)), distance // base.itemsize)


# --- where threads wait for each other ------------------------------------------------------------


class SyncPoint:
    """A primitive at which a thread stops; calls of it in a kernel become ``yield``."""

    def __init__(self, kind: str, finish: Callable | None = None):
        self.kind, self.finish = kind, finish

    def request(self, *arguments):
        return (self.kind, *arguments)


SYNC, SHUFFLE, PAUSE = SyncPoint("block"), SyncPoint("shuffle"), SyncPoint("pause")


def _names(function) -> dict:
    found = inspect.getclosurevars(function)
    return {**found.globals, **found.builtins, **found.nonlocals}


def _synchronises(function, seen=()) -> bool:
    """Whether a function has such a point, in itself or in what it calls."""
    if not inspect.isfunction(function) or function in seen:
        return False
    return any(
        isinstance(value, SyncPoint) or _synchronises(value, (*seen, function)) for value in _names(function).values()
    )


def as_generator(function):
    """A function in which each of these points is a ``yield``, itself and in the functions that it calls."""
    names = _names(function)
    waiting = {name for name, value in names.items() if isinstance(value, SyncPoint)}
    calling = {name for name, value in names.items() if _synchronises(value)}

    class Rewritten(ast.NodeTransformer):
        def visit_Call(self, node):
            self.generic_visit(node)
            if isinstance(node.func, ast.Name) and node.func.id in waiting:
                request = ast.Attribute(node.func, "request", ast.Load())
                return ast.Yield(ast.Call(request, node.args, node.keywords))
            if isinstance(node.func, ast.Name) and node.func.id in calling:
                return ast.YieldFrom(node)
            return node

    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    tree = ast.fix_missing_locations(Rewritten().visit(tree))
    namespace = {**names, **{name: as_generator(names[name]) for name in calling}}
    exec(compile(tree, f"<simulated {function.__name__}>", "exec"), namespace)
    return namespace[function.__name__]


# --- primitives ------------------------------------------------------------------------------------


class _Running:
    """Which thread runs, the shared memory of its block, and the copies that threads have begun: made when they end."""

    thread = block = block_size = 0
    shared: Memory
    copies: dict


_running = _Running()


def _load_counter(cell):
    return cell[0]


class SimulatedPrimitives:
    """What `nblstm.cuda.kernels.primitives.Primitives` offers to kernels, in Python."""

    sync_block, shuffle, _pause = SYNC, SHUFFLE, PAUSE

    def __init__(self, dtype: str):
        self.dtype, self.real = dtype, np.dtype(dtype).type
        self.uint32, self.uint64, self.int64 = np.uint32, np.uint64, np.int64
        self.functions = functions_for(dtype, lambda function: function, self._power_of_two, self._negative_if_odd)

    @staticmethod
    def inlined(function):
        return function

    @staticmethod
    def _power_of_two(shifted):
        bits, mantissa, bias = (np.uint32, 23, 127) if shifted.dtype == np.float32 else (np.uint64, 52, 1023)
        raw = np.array(shifted).view(bits)
        return ((raw + bits(bias)) << bits(mantissa)).view(shifted.dtype)[()]

    @staticmethod
    def _negative_if_odd(value, shifted):
        return -value if np.array(shifted).view(np.uint32 if shifted.dtype == np.float32 else np.uint64) & 1 else value

    @staticmethod
    def offset(pointer, count):
        return Pointer(pointer.memory, pointer.at + count)

    @staticmethod
    def numbers(address):
        return Pointer(address.memory, address.at)

    integers = words = numbers

    @staticmethod
    def thread():
        return _running.thread

    @staticmethod
    def block():
        return _running.block

    @staticmethod
    def block_size():
        return _running.block_size

    @staticmethod
    def shared():
        return Pointer(_running.shared, 0)

    @staticmethod
    def add_release(cell, amount):
        cell[0] = cell[0] + amount

    @property
    def load_acquire(self):
        pause, load = PAUSE, _load_counter

        def load_acquire(cell):
            pause()
            return load(cell)

        return load_acquire

    @staticmethod
    def begin_copy(target, source, index):
        target.quad(index, True)
        _running.copies.setdefault((_running.block, _running.thread), []).append((target, source, index))

    @staticmethod
    def end_copies():
        for target, source, index in _running.copies.pop((_running.block, _running.thread), ()):
            target.memory.values[target.quad(index, True)] = source.memory.values[source.quad(index)]

    @staticmethod
    def load_quads(count):
        def load(pointer, stride):
            return tuple(x for k in range(count) for x in pointer.memory.values[pointer.quad(k * stride)])

        return load

    @staticmethod
    def store_quad(pointer, index, values):
        pointer.memory.values[pointer.quad(index, True)] = values

    @staticmethod
    def multiply(outputs, rows, quads):
        def multiply(sums, weights, inputs, quad_stride, row_stride):
            assert len(sums) == rows * outputs
            assert len(weights) == quads * outputs * QUAD
            totals = np.array(sums).reshape(rows, outputs)
            factors = np.array(weights).reshape(quads, outputs, QUAD)
            for q in range(quads):
                for row in range(rows):
                    values = inputs.memory.values[inputs.quad(q * quad_stride + row * row_stride)]
                    for e in range(QUAD):
                        totals[row] += factors[q, :, e] * values[e]
            return tuple(totals.reshape(-1))

        return multiply

    def load(self, count):
        return lambda pointer, stride: tuple(pointer[k * stride] for k in range(count))

    def store(self, count):
        def store(pointer, stride, values):
            assert len(values) == count
            for k, value in enumerate(values):
                pointer[k * stride] = value

        return store

    def zeros(self, count):
        return lambda: (self.real(0),) * count

    def choose(self, count):
        def choose(condition, a, b):
            assert len(a) == len(b) == count
            return a if condition else b

        return choose


# --- the grid --------------------------------------------------------------------------------------


@dataclass
class Thread:
    generator: Iterator
    block: int
    thread: int
    waiting: tuple = ("ready",)
    answer: object = None


class Grid:
    """A launch: every thread of every block."""

    def __init__(
        self, kernel, blocks: int, threads: int, arguments, shared: int, order: random.Random, dtype: str = "float32"
    ):
        self.blocks, self.threads, self.order = blocks, threads, order
        self.memory = [Memory(np.full(shared, np.nan, dtype), shared=True) for _ in range(blocks)]
        self.all = [Thread(kernel(*arguments), b, t) for b in range(blocks) for t in range(threads)]
        self.of_block = [self.all[b * threads : (b + 1) * threads] for b in range(blocks)]

    def run(self) -> None:
        alive, _running.copies = list(self.all), {}
        with np.errstate(all="ignore"):
            while alive:
                ready = [thread for thread in alive if thread.waiting[0] in ("ready", "pause")]
                if not ready:
                    raise SimulatedError(f"all {len(alive)} threads wait: {sorted({t.waiting[0] for t in alive})}")
                self.order.shuffle(ready)
                for thread in ready:
                    self.resume(thread)
                for block in range(self.blocks):
                    self.release(block)
                alive = [thread for thread in alive if thread.waiting[0] != "done"]
        if _running.copies:
            raise SimulatedError(f"{len(_running.copies)} threads ended before the copies that they began")

    def resume(self, thread: Thread) -> None:
        _running.thread, _running.block, _running.block_size = thread.thread, thread.block, self.threads
        _running.shared = self.memory[thread.block]
        try:
            thread.waiting = thread.generator.send(thread.answer)
        except StopIteration:
            thread.waiting = ("done",)
        thread.answer = None

    def release(self, block: int) -> None:
        """Let threads go on that no longer wait for others."""
        threads = self.of_block[block]
        kinds = {thread.waiting[0] for thread in threads}
        if "block" in kinds and "done" in kinds:
            raise SimulatedError("some threads of a block wait at a barrier that others have left behind")
        if kinds == {"block"}:
            self.memory[block].touched.clear()
            for thread in threads:
                thread.waiting = ("ready",)
        for first in range(0, self.threads, WARP):
            warp = threads[first : first + WARP]
            if all(thread.waiting[0] == "shuffle" for thread in warp):
                masks = {thread.waiting[2] for thread in warp}
                if len(masks) != 1 or len(warp) != WARP:
                    raise SimulatedError(f"{len(warp)} threads of a warp shuffle by {masks}")
                for k, thread in enumerate(warp):
                    thread.answer = warp[k ^ masks.copy().pop()].waiting[1]
                for thread in warp:
                    thread.waiting = ("ready",)


class SimulatedRuntime:
    """What `nblstm.cuda.runtime.Runtime` offers, on a GPU that is not there.

    Attributes
    ----------
    launched : list of str
        Names of the kernels launched so far.
    """

    xp, index = np, 0

    def __init__(self, gpu: Gpu, seed: int = 0):
        self.gpu, self.order = gpu, random.Random(seed)
        self.error, self.timeout = np.zeros(1, np.int32), 10_000
        self.launched: list[tuple] = []
        self._made: dict = {}
        self.sequence_kernels: dict = {}
        self.waited = False

    def launch(self, kernel, arguments, blocks: int, threads: int, *, shared: int = 0, cooperative: bool = False):
        assert blocks > 0
        assert 0 < threads <= kernel.threads
        assert shared <= self.gpu.shared_memory
        assert not cooperative or blocks <= self.gpu.multiprocessors
        assert type(arguments) is kernel.arguments, f"{kernel.name} takes {kernel.arguments.__name__}"
        if kernel not in self._made:
            made = kernel.make(SimulatedPrimitives(kernel.dtype))
            self._made[kernel] = as_generator(made) if _synchronises(made) else _never_waits(made)
        given = kernel.arguments(*(pointer_to(a) if isinstance(a, np.ndarray) else _whole(a) for a in arguments))
        self.launched.append((kernel.name, blocks, threads))
        self.waited = self.waited or cooperative
        numbers = math.ceil(shared / np.dtype(kernel.dtype).itemsize)
        Grid(self._made[kernel], blocks, threads, [given], numbers, self.order, kernel.dtype).run()

    def active(self):
        return nullcontext()

    def matmul(self, a, b, out=None):
        return np.matmul(a, b, out=out)

    def device_array(self, array) -> np.ndarray:
        return np.array(array, order="C")

    to_host = device_array

    def finished(self, array) -> np.ndarray:
        return array

    def on_this_gpu(self, array) -> np.ndarray:
        return array

    def compile(self, kernel) -> int:
        kernel.make(SimulatedPrimitives(kernel.dtype))
        return 0

    def check(self) -> None:
        if self.error[0]:
            assert self.waited
            self.error[0] = 0
            raise RuntimeError("blocks of a kernel waited in vain for others")


def _whole(value) -> int:
    assert isinstance(value, int | np.integer), value
    return int(value)


def _never_waits(function):
    def generator(*arguments):
        function(*arguments)
        return
        yield

    return generator
