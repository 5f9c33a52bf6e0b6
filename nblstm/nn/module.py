"""Objects that own parameters: one flat buffer, named views of it, weights in and out."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from decimal import Decimal

import numpy as np

from nblstm.arguments import signatures, validate
from nblstm.buffers.layout import Layout
from nblstm.process import locks


def allocated(layout: Layout, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The buffer of all parameters, from ``make``.

    Raises
    ------
    MemoryError
        If there is no room for it.
    """
    try:
        return make()
    except (MemoryError, OverflowError, ValueError):  # the latter two where no address or no float is large enough
        raise MemoryError(
            f"there would be {Decimal(layout.size):.3g} parameters, more than the memory holds; choose smaller sizes"
        ) from None


def uniform(layout: Layout, features: int, generator: np.random.Generator, dtype: str) -> np.ndarray:
    """Initial parameters as torch's: uniform in ±1 / sqrt(features)."""

    def make() -> np.ndarray:
        bound = features**-0.5
        return generator.uniform(-bound, bound, layout.size).astype(dtype)

    return allocated(layout, make)


class _Loan:
    """The buffer as lent to the outside: alive as long as any view of it is, and then so are those of its parts."""

    def __init__(self, flat: np.ndarray, parts: list[np.ndarray] | None = None):
        self._flat, self._parts = flat, parts
        self.__array_interface__ = flat.__array_interface__


class Module:
    """Parameters in one contiguous buffer.

    Subclasses pass the layout and initial values; they may keep what they derive from the parameters with
    `_derived`, which is never stale. Modules whose buffers are pieces of this one's stand in ``_parts``.

    Attributes
    ----------
    dtype : str
    """

    _parts: tuple[Module, ...] = ()

    def __new__(cls, *args, **kwargs):
        """Refuse unknown arguments, with the nearest known one."""
        if kwargs:
            signatures.need_known(cls, kwargs)
        return super().__new__(cls)

    def __init__(self, layout: Layout, flat: np.ndarray):
        self.dtype = flat.dtype.name
        self._begin(layout, flat)

    def _begin(self, layout: Layout, flat: np.ndarray) -> None:
        """Take the parameters; nothing is derived from them yet."""
        self._layout = layout
        self._flat = flat
        self._own = layout.views(flat)  # not lent, so that what `_derived` keeps stays valid
        self._lock = locks.lock()
        self._loan: weakref.ref = weakref.ref(_Loan(flat))
        self._lent = False
        self._cache: dict = {}

    def flat_parameters(self) -> np.ndarray:
        """All parameters in one array, for optimizers and norms; writing to it changes the module.

        Returns
        -------
        ndarray, shape (number of parameters,)
        """
        with self._lock:
            loan = self._loan()
            if loan is None:
                loan = _Loan(self._flat, [part.flat_parameters() for part in self._parts])
                self._loan = weakref.ref(loan)
            self._lent = True
            return np.asarray(loan)

    def forget(self) -> None:
        """Use nothing again that was derived from the parameters.

        To be called before a write to ``_flat`` itself, which is never lent, as an exception may end it half-way, and
        after it, as another thread may have derived something meanwhile.
        """
        for module in (self, *self._parts):
            module._lent = True

    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters by torch's names; writing to them changes the module.

        Returns
        -------
        dict of str to ndarray
            Views of one buffer. While any of them is alive, each call prepares the weights anew; let go of them
            (or use `state_dict`, which copies) before calls that are to be quick, such as streaming.
        """
        return self._layout.views(self.flat_parameters())

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the parameters under torch's names and shapes."""
        with self._held():
            return {name: value.copy() for name, value in self._layout.views(self._flat).items()}

    def load_state_dict(self, state: dict) -> None:
        """Set all parameters.

        Parameters
        ----------
        state : dict of str to array_like
            As `state_dict` gives; names and shapes must match exactly.

        Raises
        ------
        TypeError, ValueError
            If they do not, or a value is not real; then nothing has been changed.
        """
        self._put(self._staged(state))

    def _staged(self, state: dict) -> np.ndarray:
        """What `load_state_dict` is given, checked, as the buffer has it."""
        if not hasattr(state, "keys"):
            raise TypeError(f"load_state_dict got {type(state).__name__}; give a dict of parameter names to arrays")
        shapes = self._layout.shapes
        missing, extra = sorted(shapes.keys() - state.keys()), sorted(map(str, state.keys() - shapes.keys()))
        if missing or extra:
            prefixes = {key[: -len(name)] for key in map(str, state) for name in shapes if key.endswith(f".{name}")}
            for prefix in sorted(prefixes):
                if all(prefix + name in state for name in shapes):
                    raise ValueError(
                        f"the state's names begin with {prefix!r}, as those of a larger model; give "
                        f"{{name.removeprefix({prefix!r}): value for name, value in state.items() "
                        f"if name.startswith({prefix!r})}}"
                    )
            parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(extra)}"] * bool(extra)
            raise ValueError(f"the state {' and '.join(parts)}; give exactly {', '.join(shapes)}")
        staged = np.empty_like(self._flat)
        for name, view in self._layout.views(staged).items():
            value = validate.real_array(f"parameter {name!r}", state[name], self.dtype)
            view[...] = validate.shaped(f"parameter {name!r}", value, shapes[name], "that of this module's parameter")
        return staged

    def _put(self, staged: np.ndarray) -> None:
        """Set all parameters to what `_staged` gave."""
        with self._held():
            self.forget()
            self._flat[:] = staged
            self.forget()

    @contextmanager
    def _held(self):
        """``with module._held():`` no other thread sets the parameters by `load_state_dict`."""
        with ExitStack() as locks:
            for module in (self, *self._parts):
                locks.enter_context(module._lock)
            yield

    def _is_current(self, key, value) -> bool:
        """Whether ``value``, from `_derived`, is what that would give again."""
        return not self._lent and value is not None and self._cache.get(key) is value

    def _forget_if_lent(self) -> None:
        """Let go of what was derived if the parameters were lent since; to be called under the lock."""
        if self._lent:
            self._cache.clear()
            self._lent = self._loan() is not None

    def _pack(self, packed) -> None:
        """Have ``packed.pack()`` take the parameters, unless it has since they last can have changed.

        ``packed.version`` is where it is remembered: the parameters as they are now are one object, ``_cache["now"]``.
        """
        if not self._lent and packed.version is not None and packed.version is self._cache.get("now"):
            return
        with self._lock:
            self._forget_if_lent()
            now = self._cache.setdefault("now", object())
            if packed.version is not now:
                packed.version = None
                packed.pack()
                packed.version = now

    def _derived(self, key, make):
        """What ``make(parameters)`` gives, kept for as long as the parameters cannot have changed.

        They change in `load_state_dict`, which clears the cache, and through views that were lent: while one is
        alive, and once more after the last has gone, everything is made anew.
        """
        with self._lock:
            self._forget_if_lent()
            if key not in self._cache:
                self._cache[key] = make(self._own)
            return self._cache[key]

    def __getstate__(self) -> dict:
        """For copies and pickle: all but what is derived from the parameters."""
        derived = ("_own", "_lock", "_loan", "_lent", "_cache")
        with self._held():
            state = {name: value for name, value in vars(self).items() if name not in derived}
            return state | {"_flat": self._flat.copy()}

    def __copy__(self) -> Module:
        """With parameters of its own: were they shared, one module could not see the other's changes."""
        return copy.deepcopy(self)

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._begin(self._layout, self._flat)
