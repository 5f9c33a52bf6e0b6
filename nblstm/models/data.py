"""Batches that fit the model, from all that users pass as data; it is checked before training begins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.base.shapes import Shape, agree, batch_shape
from nblstm.training import targets
from nblstm.training.batches import ArrayBatches, Batches, IterableBatches, Samples, checked_samples, sample_array

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential

#: Samples of a batch where the user does not say, as in Keras.
BATCH_SIZE = 32


def training_batches(
    model: Sequential, x, y, sample_weight, class_weight, batch_size: int | None, steps: int | None, shuffle: bool,
    validation_split: float,
) -> tuple[Batches, Samples | None]:  # fmt: skip
    """The batches to train with, and the samples that ``validation_split`` keeps back."""
    validation_split = validate.probability("validation_split", validation_split)
    shuffle = validate.flag("shuffle", shuffle)
    if is_iterable(x):
        if validation_split:
            raise ValueError("validation_split needs arrays and x is an iterable; give validation_data")
        return _iterable(model, x, y, sample_weight, class_weight, "steps_per_epoch", steps), None
    found, held_out = samples(model, x, y, sample_weight, class_weight), None
    if validation_split:
        found, held_out = found.split(validation_split)
        if class_weight is not None:  # which is for training alone, as in Keras
            held_out = Samples(held_out.x, held_out.y)
    count = None if steps is None else validate.positive_integer("steps_per_epoch", steps)
    size = _size(batch_size)
    _check_stateful(model, len(found), size)
    return ArrayBatches(found, size, model.generator if shuffle else None, count), held_out


def validation_batches(
    model: Sequential, given, held_out: Samples | None, batch_size: int | None, steps: int | None
) -> Batches | None:  # fmt: skip
    """The batches to evaluate with after an epoch; None if there are none."""
    if held_out is not None:
        return _in_order(model, held_out, batch_size, steps, "validation_")
    if given is None:
        return None
    if not isinstance(given, tuple | list):
        if not is_iterable(given):
            raise TypeError(f"validation_data is {type(given).__name__}; give (x, y), or an iterable of batches")
        return _iterable(model, given, None, None, None, "validation_steps", steps)
    if len(given) not in (2, 3):
        raise ValueError(f"validation_data has {len(given)} parts; give (x, y) or (x, y, sample_weight)")
    try:
        found = samples(model, given[0], given[1], given[2] if len(given) == 3 else None, None)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from None
    return _in_order(model, found, batch_size, steps, "validation_")


def check_validation(model: Sequential, batches: Batches, validation: Batches | None) -> None:
    """Refuse a validation in batches of another size than the states that a fit hands on from layer to layer."""
    name = next((layer.name for layer in model._layers if layer.stateful), None)
    if name is None or not isinstance(batches, ArrayBatches) or not isinstance(validation, ArrayBatches):
        return
    size, other = (min(b.batch_size, len(b.samples)) for b in (batches, validation))
    if size != other:
        raise ValueError(
            f"validation comes in batches of {other} and training in batches of {size}, and layer {name!r} is "
            "stateful; give batches of one size, by validation_batch_size and the number of samples"
        )


def evaluation_batches(
    model: Sequential, x, y, sample_weight, batch_size: int | None, steps: int | None
) -> Batches:  # fmt: skip
    """Batches in order, to evaluate with."""
    if is_iterable(x):
        return _iterable(model, x, y, sample_weight, None, "steps", steps)
    return _in_order(model, samples(model, x, y, sample_weight, None), batch_size, steps)


def input_batches(model: Sequential, x, batch_size: int | None, steps: int | None) -> Batches:
    """Batches of inputs alone, to predict for."""
    if is_iterable(x):
        count = None if steps is None else validate.positive_integer("steps", steps)

        def checked(given) -> Samples:
            return Samples(converted(model, given[0] if isinstance(given, tuple) else given))

        return IterableBatches(x, checked, count)
    found = Samples(converted(model, sample_array("x", one_input(model, x), model.dtype)))
    return _in_order(model, found, batch_size, steps)


def samples(model: Sequential, x, y, sample_weight, class_weight) -> Samples:
    """Arrays that fit the model, checked."""
    if x is None:
        raise ValueError("x is None; give an array, or a generator of batches")
    if y is None:
        if isinstance(x, list | tuple) and x and all(isinstance(part, tuple) for part in x):
            came = f"x is a {type(x).__name__} of {len(x)} tuples, which is taken for samples, and y is None"
            raise ValueError(f"{came}; give (x, y) batches by a generator or a PyDataset, or x and y as arrays")
        raise ValueError("y is None; give the targets, or x as a generator of (x, y) batches")
    if class_weight is not None and sample_weight is not None:
        raise ValueError("class_weight and sample_weight are both given; give one, or multiply them beforehand")
    inputs = one_input(model, x)
    listed = inputs is not x
    y = _one_output("y", y, inputs, listed)
    sample_weight = _one_output("sample_weight", sample_weight, inputs, listed)
    found = checked_samples(inputs, y, sample_weight, model.dtype)
    x, y, weight = converted(model, found.x), found.y, found.weight
    assert y is not None
    # The first layer refuses all entries, such as words out of a vocabulary, if it refuses the smallest or the largest.
    model._layers[0]._converted(np.array([x.min(), x.max()], x.dtype))
    _check_targets(model, y, weight)
    if class_weight is not None:
        assert model.output_shape is not None
        weight = targets.class_weights(y, class_weight, len(model.output_shape), model.dtype)
    return Samples(x, y, weight)


def converted(model: Sequential, x) -> np.ndarray:
    """``x`` as the model's `Input` wants it, of a shape that fits; builds the model if it is not built."""
    x = one_input(model, x)
    x = validate.number_array("x", x) if model._input is None else model._input._converted(x)
    if not model._layers:
        raise ValueError("the model has no layers; add one first")
    if model._roles is None and not model.built:
        model.build((None, *x.shape[1:]))
    known: Any = model._input_shape
    return x if x.shape[1:] == known[1:] or _fits(x, known) else _fitted(x, known)


def input_shape(model: Sequential, shape) -> Shape:
    """The shape of inputs for which to build: what is known of it, or else ``shape``."""
    shape, known = batch_shape("input_shape", shape), model._input_shape
    if known is None:
        return shape
    if len(known) != len(shape) or not all(map(agree, known[1:], shape[1:])):
        raise ValueError(f"the model takes {known} and input_shape is {shape}; give one that fits, or leave it out")
    return known


def _fits(x: np.ndarray, known: tuple) -> bool:
    """Return whether x has a shape that the model takes, the number of samples aside."""
    return x.ndim == len(known) and all(map(agree, known[1:], x.shape[1:]))


def _fitted(x: np.ndarray, known: tuple) -> np.ndarray:
    """``x`` with a last dimension of 1 more or less, if it fits so and in no other way, as in Keras."""
    one_sample = x.ndim + 1 == len(known) and _fits(x[None], known)
    if known[-1] == 1 and _fits(x[..., None], known) and not one_sample:
        return x[..., None]
    if x.ndim == len(known) + 1 and x.shape[-1] == 1 and _fits(x[..., 0], known):
        return x[..., 0]
    fix = "; for one sample give x[None]" if one_sample else ""
    raise ValueError(f"x has shape {x.shape}; the model takes {known}, with None for any size{fix}")


def one_input(model: Sequential, x):
    """``x``, out of the list of one in which Keras's models of several inputs have theirs.

    A list may also have samples one by one, which have fewer dimensions than the model's input.
    """
    if type(x) is np.ndarray or not (isinstance(x, list | tuple) and x and all(getattr(p, "ndim", 0) for p in x)):
        return x
    ndim = len(model._input_shape) if model._input_shape else model._layers[0].ndim if model._layers else None
    dimensions = [part.ndim for part in x]
    if len(x) == 1:
        return x[0] if dimensions == [ndim] else x
    if max(dimensions) < ndim if ndim else len(set(dimensions)) == 1:
        return x
    raise ValueError(
        f"x is a list of {len(x)} arrays of {validate.shapes(x)}, as for a model of several inputs; a Sequential has "
        "one, so give one array, such as np.concatenate(x, axis=-1), of which each step has what has no steps too"
    )


def _one_output(name: str, given, x, listed: bool):
    """Targets or weights, out of a list of one.

    A list of one array is that where its array has as many entries as x, of which there are several, or x was
    ``listed`` too.
    """
    if not (isinstance(given, list | tuple) and given and hasattr(x, "__len__")):
        return given
    N = len(x)
    if any(getattr(part, "ndim", 0) == 0 or len(part) != N for part in given):
        return given
    if len(given) == 1:
        return given[0] if N > 1 or listed else given
    if len(given) == N:
        return given
    raise ValueError(
        f"{name} is a list of {len(given)} arrays with {N} entries each, as for a model of several outputs; a "
        "Sequential has one, so give one array"
    )


def _check_targets(model: Sequential, y: np.ndarray, weight: np.ndarray | None) -> None:
    """Refuse targets of a wrong shape or out of range, and weights of a wrong shape, before training.

    Where there are masks, what is masked may be anything, and only batches can tell.
    """
    shape = model.output_shape
    if model.objective is None or shape is None or shape[-1] is None:
        return
    known = (None, *shape[1:])  # even where a batch has a fixed size: these are the samples of all batches
    sizes = [n or (y.shape[axis] if axis < y.ndim else 1) for axis, n in enumerate(known)]
    prediction = np.broadcast_to(np.zeros((), model._layers[-1].dtype), sizes)
    mask = np.broadcast_to(np.array(False), sizes[:-1]) if model.makes_masks else None
    loss = model.objective.loss
    loss.check(loss.target(y, prediction, mask)[0])
    if weight is not None:
        targets.aligned("sample_weight", weight, tuple(sizes[:-1] or sizes))


def _in_order(
    model: Sequential, found: Samples, batch_size: int | None, steps: int | None, purpose: str = ""
) -> ArrayBatches:  # fmt: skip
    """Batches of views, of all samples or of those in the first ``steps`` batches."""
    size = _size(batch_size, purpose)
    if steps is not None:
        found = found.between(0, size * validate.positive_integer(f"{purpose}steps", steps))
    _check_stateful(model, len(found), size)
    return ArrayBatches(found, size)


def _check_stateful(model: Sequential, N: int, batch_size: int) -> None:
    """Refuse batches of several sizes where a layer hands on its states: before the first, not at the last."""
    stateful = [layer.name for layer in model._layers if layer.stateful]
    if not stateful:
        return
    size = min(batch_size, N)
    rest = N % size if size else 0
    fixed = model._input_shape[0] if model._input_shape else None
    if rest or fixed not in (None, size):
        sizes = f"{size} and {rest}" if rest else f"{size}"
        raise ValueError(
            f"{N} samples make batches of {sizes}, and layer {stateful[0]!r} is stateful; give batches of "
            f"{fixed or 'one size'}, by batch_size and the number of samples"
        )


def _iterable(
    model: Sequential, x, y, sample_weight, class_weight, name: str, steps: int | None
) -> IterableBatches:  # fmt: skip
    if y is not None or sample_weight is not None:
        raise ValueError("y or sample_weight is given beside an iterable of batches, which has them; leave it out")
    count = None if steps is None else validate.positive_integer(name, steps)

    def checked(given) -> Samples:
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise TypeError(
                f"a batch is {validate.came(given, 'parts')}; let the iterable give (x, y) or (x, y, sample_weight)"
            )
        return samples(model, given[0], given[1], given[2] if len(given) == 3 else None, class_weight)

    return IterableBatches(x, checked, count)


def is_iterable(x) -> bool:
    """Return whether x is a generator, a loader or the like, and not something that becomes an array."""
    arrays = str | bytes | list | tuple | dict | np.ndarray
    array_like = isinstance(x, arrays) or hasattr(x, "__array__") or hasattr(x, "toarray")  # the last of SciPy, sparse
    return isinstance(x, Iterable) and not array_like and not _has_a_buffer(x)


def _has_a_buffer(x) -> bool:
    """Return whether NumPy can read the memory of x, as of a memoryview or an `array.array`."""
    try:
        memoryview(x)
    except TypeError:
        return False
    return True


def _size(batch_size: int | None, purpose: str = "") -> int:
    return validate.positive_integer(f"{purpose}batch_size", BATCH_SIZE if batch_size is None else batch_size)
