"""Types of the arguments that layers share: an editor offers them, a type checker finds what is misspelt or wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from nblstm.activations import ActivationFunction
from nblstm.arguments.validate import DTypeLike

if TYPE_CHECKING or sys.version_info >= (3, 11):
    from typing import Unpack
else:  # Python 3.10 has no Unpack, and needs one only where annotations are read while a program runs
    from typing import Union as Unpack

__all__ = [
    "ActivationLike", "ConstraintLike", "DTypeLike", "EmbeddingOptions", "InitializerLike", "LayerOptions",
    "RecurrentOptions", "RegularizerLike", "ShapeLike", "Unpack",
]  # fmt: skip

ActivationLike: TypeAlias = str | ActivationFunction | None
#: A name, what was saved, a class, an object, or a function of (shape, dtype); the values themselves.
InitializerLike: TypeAlias = str | dict[str, Any] | Callable[..., Any] | np.ndarray
#: A name, what was saved, a class, or an object.
RegularizerLike: TypeAlias = str | dict[str, Any] | Callable[..., Any] | None
#: A name, what was saved, a class, an object, or a function of the parameter.
ConstraintLike: TypeAlias = str | dict[str, Any] | Callable[..., Any] | None
#: Without the batch or with it; None where a size is unknown.
ShapeLike: TypeAlias = int | Sequence[int | None] | None


class EmbeddingOptions(TypedDict, total=False):
    """The ``**kwargs`` of an Embedding, whose ``input_dim`` is the size of its vocabulary."""

    name: str | None
    trainable: bool
    input_shape: ShapeLike
    batch_input_shape: ShapeLike
    dtype: DTypeLike


class LayerOptions(EmbeddingOptions, total=False):
    """The ``**kwargs`` of a layer: what `Layer` itself takes."""

    input_dim: int | None


class RecurrentOptions(LayerOptions, total=False):
    """The ``**kwargs`` of a recurrent layer: what `Recurrent` and `Layer` take."""

    zero_output_for_mask: bool
    learn_initial_state: bool
    signals: Mapping[str, Any] | None
