"""Optimizer, from which all optimizers derive: slots, learning rate, clipping, weight decay, exact resume."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np

from nblstm.arguments import custom, signatures, validate
from nblstm.arguments.configured import Configured, Registry
from nblstm.engine.device import backend_of
from nblstm.nn import Gradients, Module
from nblstm.nn.module import pieces, places_trained
from nblstm.training.optimizers import schedules
from nblstm.training.optimizers.clipping import clip_by_global_norm, clip_by_norm, clip_by_value, listed
from nblstm.training.optimizers.schedules import LearningRate


class Optimizer(Configured):
    """An optimizer: one loop over the flat buffer of each module.

    Subclasses give the names of the arrays that they keep, `slot_names`, and either the equation of a number,
    `equation` with its `constants`, which is compiled, or that of an array, `update`.

    Parameters
    ----------
    modules : Module or sequence of Module, optional
        Networks to train; without, `build` sets them. A number, schedule or function in this place is the learning
        rate, so that ``Adam(0.01)`` means what it does in Keras.
    learning_rate : float or callable
        A callable gives the learning rate of a step, counted from 0, such as a schedule.
    weight_decay : float, optional
        Before each update, ``p = p - weight_decay learning_rate p``.
    clipnorm, clipvalue, global_clipnorm : float, optional
        At most one of them: gradients are clipped, in place, by `clip_by_norm`, `clip_by_value` or
        `clip_by_global_norm`.
    name : str, optional
        That of the class by default.

    Attributes
    ----------
    iterations : int
        Steps taken.
    """

    unsaved = ("modules",)
    once: ClassVar[dict[str, str]] = {"lr": "learning_rate"}

    def __new__(cls, *args, **kwargs):
        """Refuse arguments behind a learning rate that stands in the place of the networks, unless they are named."""
        names = [*signatures.constructor(cls).parameters] if len(args) > 1 or "learning_rate" in kwargs else [""]
        if names[0] == "modules" and _is_rate(args[0] if args else kwargs.get("modules")):
            given = f"{args[0]!r}, {args[1]!r}" if len(args) > 1 else "modules and learning_rate"
            named = f"{cls.__name__}(0.1{f', {names[2]}=0.9' if len(names) > 2 else ''})"
            raise TypeError(
                f"{cls.__name__} got {given}, of which the first is a learning rate in place of the networks; give "
                f"what follows a learning rate by its name, as in {named}"
            )
        return super().__new__(cls, *args, **kwargs)

    def __init__(
        self, modules, learning_rate, weight_decay: float | None, clipnorm: float | None, clipvalue: float | None,
        global_clipnorm: float | None, name: str | None = None,
    ):  # fmt: skip
        if _is_rate(modules):
            modules, learning_rate = None, modules
        self._learning_rate = self._checked_rate(learning_rate)
        limits = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = [name for name, value in limits.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; give at most one of them")
        self.clipnorm, self.clipvalue, self.global_clipnorm = (
            None if value is None else validate.number(name, value, 0, above=True) for name, value in limits.items()
        )
        self.weight_decay = None if weight_decay is None else validate.number("weight_decay", weight_decay, 0)
        if not (name is None or isinstance(name, str)):
            raise TypeError(f"name is {name!r}; give a string, or None")
        self.name = name or type(self).__name__
        self.iterations = 0
        self.modules: list[Module] = []
        self._sizes: list[int] = []
        self._slots: list[dict[str, np.ndarray]] = []
        self._places: list[tuple[int, slice]] | None = None
        self._updates: list[tuple[list[int], Any]] | None = None
        if modules is not None:
            self.build(modules)

    def build(self, modules: Module | Sequence[Module]) -> None:
        """Set the networks to train, at step 0.

        Parameters
        ----------
        modules : Module or sequence of Module
        """
        if not isinstance(modules, Module | Iterable):
            raise TypeError(f"modules is {modules!r}; give the networks to train, such as [lstm, readout]")
        modules = [modules] if isinstance(modules, Module) else list(modules)
        if not modules or not all(isinstance(module, Module) for module in modules):
            kinds = ", ".join(type(module).__name__ for module in modules) or "nothing"
            raise TypeError(f"modules has {kinds}; give the networks to train, such as [lstm, readout]")
        if len({id(module) for module in modules}) < len(modules):
            raise ValueError("modules has a network twice, which would take each step twice; give each once")
        parameters, names = [module.flat_parameters() for module in modules], self.slot_names()
        slots = [{name: np.full_like(p, self.slot_start(name)) for name in names} for p in parameters]
        self.modules, self.iterations = [], 0  # in case of an exception of a signal's handler: to be built anew
        self._sizes, self._slots, self._updates = [p.size for p in parameters], slots, None
        self._places = places_trained(modules)
        self.modules = modules

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickle: compiled updates hold addresses."""
        return vars(self) | {"_updates": None}

    @property
    def learning_rate(self) -> LearningRate:
        """The learning rate of the next step; may be set between steps, unless it follows a schedule."""
        rate = LearningRate(self._rate())
        rate._optimizer = self
        return rate

    @learning_rate.setter
    def learning_rate(self, value: float | Callable[[int], float]) -> None:
        if callable(self._learning_rate) and not callable(value):
            raise TypeError(
                "the learning rate follows a schedule; give the optimizer a number to begin with, to set it"
            )
        self._learning_rate = self._checked_rate(value)

    @property
    def lr(self) -> NoReturn:
        """Keras's old name for `learning_rate`, which programs set: it would change nothing."""
        raise AttributeError("lr is now called learning_rate; set optimizer.learning_rate")

    @lr.setter
    def lr(self, value) -> NoReturn:
        raise AttributeError(f"lr is now called learning_rate; set optimizer.learning_rate = {value!r}")

    def step(self, gradients: Sequence[Gradients | None]) -> None:
        """Update all modules.

        Parameters
        ----------
        gradients : sequence of Gradients or None
            One per module, in the same order. None leaves a module as it is: it is frozen or has no parameters.

        Raises
        ------
        RuntimeError
            If no modules have been given.
        ValueError
            If the gradients do not fit them; then nothing has been changed.
        """
        gradients = listed(gradients)
        if not self.modules:
            raise RuntimeError("the optimizer has no modules to train; give them first, by build(modules)")
        parameters = [module._flat for module in self.modules]
        flat = [None if g is None else g.flat for g in gradients]
        self._check(flat, parameters)
        rate = self._rate()
        self._clip(gradients)
        changed = [module for module, g in zip(self.modules, flat, strict=True) if g is not None]
        for module in changed:
            module.forget()
        self._update(parameters, flat, rate)
        for module in changed:
            module.forget()
        for module in () if self._places is None else self.modules:
            module.after_step()

    def slot_names(self) -> tuple[str, ...]:
        """Names of the slots: arrays kept from step to step, with a number for each parameter."""
        raise NotImplementedError(f"{type(self).__name__} names no slots; define slot_names()")

    def slot_start(self, name: str) -> float:
        """The number that a slot has before the first step."""
        return 0.0

    def equation(self) -> Callable[..., tuple[float, ...]]:
        """The equation of one number: a function of p, g, the slots and the constants to the new p and slots.

        It runs on symbols, as the equations of a cell do, and is compiled: it may use operators and the functions that
        nblstm exports. What changes from step to step belongs to `constants`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no equation; define equation(), or update()")

    def constants(self, rate: float) -> tuple[float, ...]:
        """The constants of the next step; ``iterations`` is the number of steps before it."""
        raise NotImplementedError(f"{type(self).__name__} has no constants; define constants(rate)")

    def update(self, p: np.ndarray, g: np.ndarray, slots: dict[str, np.ndarray], rate: float) -> None:
        """The equation of arrays: change the parameters ``p`` and the slots in place, in place of `equation`.

        ``iterations`` is the number of steps before this one.
        """

    def state(self) -> dict[str, np.ndarray]:
        """Everything that changes from step to step, for a later `load_state`; the parameters are the modules' own.

        Returns
        -------
        dict of str to ndarray
            Copies: ``iterations``; ``learning_rate``, unless it follows a schedule; ``NAME/k``, the array of that
            name for module k.
        """
        out = {"iterations": np.array(self.iterations, np.int64)}
        if not callable(self._learning_rate):
            out["learning_rate"] = np.array(self._learning_rate, np.float64)
        for k, slots in enumerate(self._slots):
            out |= {f"{name}/{k}": slot.copy() for name, slot in slots.items()}
        return out

    def load_state(self, state: dict) -> None:
        """Go on from a `state`: with the modules' parameters as they were, the next steps give the same bits.

        Parameters
        ----------
        state : dict of str to array_like
            Of an optimizer with the same arguments and the same modules.

        Raises
        ------
        TypeError, ValueError
            If names, shapes or dtypes are not those of this optimizer's own state; then nothing has been changed.
        """
        if not hasattr(state, "keys"):
            raise TypeError(f"load_state got {type(state).__name__}; give a dict of names to arrays")
        own = self.state()
        missing, extra = sorted(own.keys() - state.keys()), sorted(map(str, state.keys() - own.keys()))
        if missing or extra:
            parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(extra)}"] * bool(extra)
            raise ValueError(f"the state {' and '.join(parts)}; it needs to be of the same optimizer and modules")
        new = {name: validate.plain_array(name, state[name]) for name in own}
        for name, value in own.items():
            came = new[name].shape, new[name].dtype
            if came != (value.shape, value.dtype):
                needed = f"shape {value.shape} and dtype {value.dtype}"
                raise ValueError(f"{name} has shape {came[0]} and dtype {came[1]}; it needs {needed}")
        if new["iterations"] < 0:
            raise ValueError(f"iterations is {new['iterations']}; it needs to be 0 or more")
        if "learning_rate" in new:
            self._learning_rate = validate.number("learning_rate", float(new["learning_rate"]), 0)
        self.iterations = int(new["iterations"])
        for k, slots in enumerate(self._slots):
            for name, slot in slots.items():
                slot[:] = new[f"{name}/{k}"]

    @staticmethod
    def _checked_rate(value):
        value = custom.resolved(value)  # a file has the name of a function
        if isinstance(value, dict):
            return schedules.get(value)
        if isinstance(value, type):
            raise TypeError(f"learning_rate is the class {value.__name__}; give an object of it, {value.__name__}(...)")
        return value if callable(value) else validate.number("learning_rate", value, 0)

    def _rate(self) -> float:
        if not callable(self._learning_rate):
            return self._learning_rate
        rate = self._learning_rate(self.iterations)
        if hasattr(rate, "__float__") and getattr(rate, "shape", ()) == ():  # another library's number, too
            rate = float(rate)
        return validate.number(f"the learning rate of step {self.iterations}", rate, 0)

    def _check(self, flat: list[np.ndarray | None], parameters: list[np.ndarray]) -> None:
        sizes = [p.size for p in parameters]
        if sizes != self._sizes:
            raise ValueError(f"the modules have {sizes} parameters and had {self._sizes}; call build(modules) again")
        if len(flat) != len(parameters):
            raise ValueError(
                f"there are gradients of {_modules(len(flat))}, and the optimizer has {_modules(len(parameters))}; "
                "give a list with what backward() returned for each, in the order of modules"
            )
        for k, (g, p) in enumerate(zip(flat, parameters, strict=True)):
            if g is not None and g.shape != p.shape:
                raise ValueError(
                    f"gradients[{k}] has {g.size} numbers, and modules[{k}] has {p.size} parameters; give what each "
                    "module's backward() returned, in the order of modules"
                )
            if g is not None and g.dtype != p.dtype:
                raise ValueError(f"gradients have dtype {g.dtype}; the module has {p.dtype}, so give that")

    def kernels(self, dtype: str) -> list[tuple]:
        """Functions that compile what steps will need, each with its arguments."""
        if type(self).update is not Optimizer.update:
            return []
        arguments = self.equation(), len(self.slot_names()), len(self.constants(0.0)), dtype
        return [(backend_of("cpu").update_kernel, *arguments)]

    def _update(self, parameters: list[np.ndarray], flat: list[np.ndarray | None], rate: float) -> None:
        """The modules' steps, weight decay included, and their count."""
        if self._places is not None:
            parameters, flat = pieces(parameters, self._places), pieces(flat, self._places)
        decay = 0.0 if self.weight_decay is None else self.weight_decay * rate
        if type(self).update is not Optimizer.update:
            for p, g, slots in zip(parameters, flat, self._trained_slots(), strict=True):
                if g is not None:
                    if decay:
                        with np.errstate(under="ignore"):
                            p -= p * decay
                    self.update(p, g, slots, rate)
            self.iterations += 1
            return
        constants = self.constants(rate)
        if self._updates is None:
            self._updates = self._compiled(parameters, len(constants))
        self.iterations += 1  # before, as the handler of a signal that comes during the update is run right behind it
        for modules, update in self._updates:
            update.run([parameters[k] for k in modules], [flat[k] for k in modules], 1 - decay, constants)

    def _trained_slots(self) -> list[dict[str, np.ndarray]]:
        """The slots of the parameters that are updated."""
        at = self._places
        return self._slots if at is None else [{name: s[i] for name, s in self._slots[k].items()} for k, i in at]

    def _compiled(self, parameters: list[np.ndarray], constants: int) -> list[tuple[list[int], Any]]:
        """The compiled equation for the parameters of each dtype."""
        made, trained = [], self._trained_slots()
        for dtype in sorted({p.dtype.name for p in parameters}):
            modules = [k for k, p in enumerate(parameters) if p.dtype == dtype]
            slots, sizes = [list(trained[k].values()) for k in modules], [parameters[k].size for k in modules]
            update = backend_of("cpu").updates(self.equation(), slots, sizes, dtype, constants)
            made.append((modules, update))
        return made

    def _clip(self, gradients) -> None:
        if self.clipnorm is not None:
            clip_by_norm(gradients, self.clipnorm)
        elif self.clipvalue is not None:
            clip_by_value(gradients, self.clipvalue)
        elif self.global_clipnorm is not None:
            clip_by_global_norm(gradients, self.global_clipnorm)

    def _argument(self, name: str):
        return self._learning_rate if name == "learning_rate" else super()._argument(name)


OPTIMIZERS = Registry("optimizer", Optimizer)


def _modules(count: int) -> str:
    return "1 module" if count == 1 else f"{count} modules"


def _is_rate(modules) -> bool:
    """True if a learning rate, or what was meant for one, stands in the place of the networks."""
    if isinstance(modules, list | tuple):
        return bool(modules) and all(isinstance(part, numbers.Real) for part in modules)
    return isinstance(modules, numbers.Real | str) or (callable(modules) and not isinstance(modules, Module | type))
