"""What users pass as data, as batches that fit the model; all of it is checked before training begins."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nblstm.arguments import validate
from nblstm.models.chain import Chain
from nblstm.models.unlisted import unlisted_targets
from nblstm.training.data import targets
from nblstm.training.data.batches import ArrayBatches, Batches, IterableBatches
from nblstm.training.data.samples import Samples, checked_samples, sample_array

#: Samples of a batch where the user does not say, as in Keras.
BATCH_SIZE = 32


class Feed(Chain):
    """A chain of layers that takes its data in batches."""

    def training_batches(
        self, x, y, sample_weight, class_weight, batch_size: int | None, steps: int | None, shuffle: bool,
        validation_split: float,
    ) -> tuple[Batches, Samples | None]:  # fmt: skip
        """The batches to train with, and the samples that ``validation_split`` keeps back."""
        validation_split = validate.probability("validation_split", validation_split)
        shuffle = validate.flag("shuffle", shuffle)
        if is_iterable(x):
            if validation_split:
                raise ValueError("validation_split needs arrays and x is an iterable; give validation_data")
            return self._iterable(x, y, sample_weight, class_weight, "steps_per_epoch", steps), None
        found, held_out = self.samples(x, y, sample_weight, class_weight), None
        if validation_split:
            found, held_out = found.split(validation_split)
            if class_weight is not None:  # which is for training alone, as in Keras
                held_out = Samples(held_out.x, held_out.y)
        count = None if steps is None else validate.positive_integer("steps_per_epoch", steps)
        size = _size(batch_size)
        self._check_stateful(len(found), size)
        return ArrayBatches(found, size, self.generator if shuffle else None, count), held_out

    def validation_batches(
        self, given, held_out: Samples | None, batch_size: int | None, steps: int | None
    ) -> Batches | None:
        """The batches to evaluate with after an epoch; None if there are none."""
        if held_out is not None:
            return self._in_order(held_out, batch_size, steps, "validation_")
        if given is None:
            return None
        if not isinstance(given, tuple | list):
            if not is_iterable(given):
                raise TypeError(f"validation_data is {type(given).__name__}; give (x, y), or an iterable of batches")
            return self._iterable(given, None, None, None, "validation_steps", steps)
        if len(given) not in (2, 3):
            raise ValueError(f"validation_data has {len(given)} parts; give (x, y) or (x, y, sample_weight)")
        try:
            found = self.samples(given[0], given[1], given[2] if len(given) == 3 else None, None)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from None
        return self._in_order(found, batch_size, steps, "validation_")

    def check_validation(self, batches: Batches, validation: Batches | None) -> None:
        """Refuse a validation in batches of another size than the states that a fit hands on from layer to layer."""
        name = next((layer.name for layer in self._layers if getattr(layer, "stateful", False)), None)
        if name is None or not isinstance(batches, ArrayBatches) or not isinstance(validation, ArrayBatches):
            return
        size, other = (min(b.batch_size, len(b.samples)) for b in (batches, validation))
        if size != other:
            raise ValueError(
                f"validation comes in batches of {other} and training in batches of {size}, and layer {name!r} is "
                "stateful; give batches of one size, by validation_batch_size and the number of samples"
            )

    def batches(self, x, y, sample_weight, batch_size: int | None, steps: int | None) -> Batches:
        """Batches in order, to evaluate with."""
        if is_iterable(x):
            return self._iterable(x, y, sample_weight, None, "steps", steps)
        return self._in_order(self.samples(x, y, sample_weight, None), batch_size, steps)

    def input_batches(self, x, batch_size: int | None, steps: int | None) -> Batches:
        """Batches of inputs alone, to predict for."""
        if is_iterable(x):
            count = None if steps is None else validate.positive_integer("steps", steps)
            return IterableBatches(x, lambda given: Samples(self.converted(_inputs(given))), count)
        return self._in_order(
            Samples(self.converted(sample_array("x", self.unlisted(x), self.dtype))), batch_size, steps
        )

    def samples(self, x, y, sample_weight, class_weight) -> Samples:
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
        inputs = self.unlisted(x)
        listed = inputs is not x
        y = unlisted_targets("y", y, inputs, listed)
        sample_weight = unlisted_targets("sample_weight", sample_weight, inputs, listed)
        found = checked_samples(inputs, y, sample_weight, self.dtype)
        x, y, weight = self.converted(found.x), found.y, found.weight
        assert y is not None
        self.check_inputs(x)
        self.check_targets(y, weight)
        if class_weight is not None:
            assert self.output_shape is not None
            weight = targets.class_weights(y, class_weight, len(self.output_shape), self.dtype)
        return Samples(x, y, weight)

    def check_targets(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Refuse targets, and weights of samples, that the loss would refuse in some batch."""

    def _in_order(
        self, found: Samples, batch_size: int | None, steps: int | None, purpose: str = ""
    ) -> ArrayBatches:  # fmt: skip
        """Batches of views, of all samples or of those in the first ``steps`` batches."""
        size = _size(batch_size, purpose)
        if steps is not None:
            found = found.between(0, size * validate.positive_integer(f"{purpose}steps", steps))
        self._check_stateful(len(found), size)
        return ArrayBatches(found, size)

    def _check_stateful(self, N: int, batch_size: int) -> None:
        """Refuse batches of several sizes where a layer hands on its states: before the first, not at the last."""
        stateful = [layer.name for layer in self._layers if getattr(layer, "stateful", False)]
        if not stateful:
            return
        size = min(batch_size, N)
        rest = N % size if size else 0
        fixed = self._input_shape[0] if self._input_shape else None
        if rest or fixed not in (None, size):
            sizes = f"{size} and {rest}" if rest else f"{size}"
            raise ValueError(
                f"{N} samples make batches of {sizes}, and layer {stateful[0]!r} is stateful; give batches of "
                f"{fixed or 'one size'}, by batch_size and the number of samples"
            )

    def _iterable(self, x, y, sample_weight, class_weight, name: str, steps: int | None) -> IterableBatches:
        if y is not None or sample_weight is not None:
            raise ValueError("y or sample_weight is given beside an iterable of batches, which has them; leave it out")
        count = None if steps is None else validate.positive_integer(name, steps)

        def checked(given) -> Samples:
            if not isinstance(given, tuple | list) or len(given) not in (2, 3):
                raise TypeError(
                    f"a batch is {validate.came(given, 'parts')}; let the iterable give (x, y) or (x, y, sample_weight)"
                )
            return self.samples(given[0], given[1], given[2] if len(given) == 3 else None, class_weight)

        return IterableBatches(x, checked, count)


def is_iterable(x) -> bool:
    """Whether x is a generator, a loader or the like, and not something that becomes an array."""
    arrays = str | bytes | list | tuple | dict | np.ndarray
    array_like = isinstance(x, arrays) or hasattr(x, "__array__") or hasattr(x, "toarray")  # the last of SciPy, sparse
    return isinstance(x, Iterable) and not array_like and not _has_a_buffer(x)


def _has_a_buffer(x) -> bool:
    """Whether NumPy can read the memory of x, as of a memoryview or an `array.array`."""
    try:
        memoryview(x)
    except TypeError:
        return False
    return True


def _size(batch_size: int | None, purpose: str = "") -> int:
    return validate.positive_integer(f"{purpose}batch_size", BATCH_SIZE if batch_size is None else batch_size)


def _inputs(given):
    return given[0] if isinstance(given, tuple) else given
