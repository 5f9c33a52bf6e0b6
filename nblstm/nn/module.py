"""Objects that own parameters: one flat buffer, named views of it, weights in and out."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from decimal import Decimal

import numpy as np

from nblstm.arguments import signatures, validate
from nblstm.buffers.layout import Layout
from nblstm.nn import parameter_files
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
    """A buffer, or a piece of one, as lent to the outside; it lives as long as any array that was made of it."""

    def __init__(self, flat: np.ndarray, whole: _Loan | None = None):
        self._flat, self._whole = flat, whole
        self.__array_interface__ = flat.__array_interface__


class _Buffer:
    """A flat buffer, its lock, and the modules whose parameters are pieces of it."""

    def __init__(self, flat: np.ndarray):
        self.flat, self.lock = flat, locks.lock()
        self.modules: list[weakref.ref[Module]] = []
        self.loan: weakref.ref[_Loan] = weakref.ref(_Loan(flat))

    def lend(self) -> _Loan:
        """Lend the whole buffer; to be called under the lock."""
        loan = self.loan()
        if loan is None:
            loan = _Loan(self.flat)
            self.loan = weakref.ref(loan)
        self.forget()
        return loan

    def forget(self) -> None:
        """Have no module use again what it derived from its parameters."""
        for reference in self.modules:
            module = reference()
            if module is not None:
                module._lent = True


class Module:
    """Parameters in one contiguous buffer.

    Subclasses pass the layout and initial values; they may keep what they derive from the parameters with
    `_derived`, which is never stale. Modules that another one holds have their parameters in a piece of its buffer.

    Attributes
    ----------
    dtype : str
    """

    def __new__(cls, *args, **kwargs):
        """Make the module, unless an argument is unknown."""
        if kwargs:
            signatures.refuse_unknown(cls, kwargs)
        return super().__new__(cls)

    def __init__(self, layout: Layout, flat: np.ndarray):
        self.dtype = flat.dtype.name
        self._set_buffer(layout, flat)

    def _set_buffer(self, layout: Layout, flat: np.ndarray, buffer: _Buffer | None = None) -> None:
        """Take the parameters, where ``flat`` may be a piece of another module's buffer; nothing is derived yet."""
        self._layout = layout
        self._flat = flat
        self._own = layout.views(flat)  # not lent, so that what `_derived` keeps stays valid
        self._named: dict[str, np.ndarray] | None = None  # the same under a network's names, see `engine.network`
        self._buffer = _Buffer(flat) if buffer is None else buffer
        self._buffer.modules.append(weakref.ref(self))
        self._lock = self._buffer.lock
        self._lent = False
        self._cache: dict = {}

    def _loan(self) -> _Loan | None:
        """The loan of the buffer, while any array of it is alive outside."""
        return self._buffer.loan()

    def flat_parameters(self) -> np.ndarray:
        """All parameters in one array, for optimizers and norms; writing to it changes the module.

        Returns
        -------
        ndarray, shape (number of parameters,)
        """
        with self._lock:
            loan = self._buffer.lend()
        return np.asarray(loan if self._flat is self._buffer.flat else _Loan(self._flat, loan))

    def forget(self) -> None:
        """Use nothing again that was derived from the parameters.

        To be called before a write to ``_flat`` itself, which is never lent, as an exception may end it half-way, and
        after it, as another thread may have derived something meanwhile.
        """
        self._buffer.forget()

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
        with self._lock:
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

    def save(self, path) -> None:
        """Write the parameters to a file, from which `load` sets them and `nblstm.nn.load` makes the network.

        Parameters
        ----------
        path : str or PathLike
            ``.safetensors``, which torch reads by `safetensors.torch.load_file`, or ``.npz``, which NumPy does. The
            file takes the place of an old one in one instant: who is killed before that leaves the old one whole.

        Raises
        ------
        ValueError
            If the name ends otherwise, or a layer is not built.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> from nblstm import nn
        >>> path = os.path.join(tempfile.mkdtemp(), "lstm.safetensors")
        >>> nn.LSTM(3, 8, seed=0).save(path)
        >>> nn.LSTM(3, 8).load(path)
        """
        parameter_files.save(self, path)

    def load(self, path, prefix: str = "") -> None:
        """Set all parameters from a file.

        Parameters
        ----------
        path : str or PathLike
            ``.safetensors``, ``.npz``, or torch's ``.pt``, ``.pth``, ``.bin``, ``.ckpt``, of which nothing is executed.
        prefix : str, default ""
            Precedes the names of these parameters in a file of a larger model, such as ``"encoder.lstm."``; in torch's
            files, keys of dicts in dicts too, ``"state_dict.encoder.lstm."``.

        Raises
        ------
        TypeError, ValueError
            If the file is damaged, or names or shapes do not fit; then nothing has been changed. The message has the
            prefixes that fit.
        OSError
            If it cannot be read.
        """
        parameter_files.load(self, path, prefix)

    def _staged(self, state: dict) -> np.ndarray:
        """Check a state, and return it as a flat buffer; the parameters stay as they are."""
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
        """Set all parameters from a buffer that `_staged` returned."""
        with self._lock:
            self.forget()
            self._flat[:] = staged
            self.forget()

    def _forget_if_lent(self) -> None:
        """Let go of what was derived if the parameters were lent since; to be called under the lock."""
        if self._lent:
            self._cache.clear()
            self._lent = self._loan() is not None

    def _derived(self, key, make):
        """Call ``make(parameters)``, and keep the result for as long as the parameters cannot have changed.

        They change in `load_state_dict`, which clears the cache, and through views that were lent: while one is
        alive, and once more after the last has gone, everything is made anew.
        """
        with self._lock:
            self._forget_if_lent()
            if key not in self._cache:
                self._cache[key] = make(self._own)
            return self._cache[key]

    def __getstate__(self) -> dict:
        """Return all but what is derived from the parameters, for copies and pickle."""
        derived = ("_own", "_named", "_buffer", "_lock", "_lent", "_cache")
        with self._lock:
            state = {name: value for name, value in vars(self).items() if name not in derived}
            return state | {"_flat": self._flat.copy()}

    def __copy__(self) -> Module:
        """Copy the parameters too: were they shared, one module could not see the other's changes."""
        return copy.deepcopy(self)

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._set_buffer(self._layout, self._flat)
