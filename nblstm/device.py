"""Which device computes: the variable ``NBLSTM_DEVICE``, `set_device`, and why not."""

from __future__ import annotations

import os
import re

_chosen: str | None = None


def cuda_unavailable() -> str | None:
    """Why CUDA can't be used here, as a sentence; None if it can."""
    return "this version of nblstm computes on the CPU alone, its CUDA backend is not released yet"


def resolve(name: str, source: str) -> str:
    """The device that a request means.

    Parameters
    ----------
    name : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
    source : str
        Where the request was made, for the error.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is no such device name.
    RuntimeError
        If the device can't be used, with the reason.
    """
    if not isinstance(name, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"{source} is {name!r}; the devices are 'auto', 'cpu', 'cuda' and 'cuda:1' for the second GPU")
    if name in ("auto", "cpu"):
        return "cpu"
    raise RuntimeError(f"{source} asks for {name!r}, but {cuda_unavailable()}; choose 'cpu' or 'auto'")


def set_device(name: str) -> None:
    """Choose the device for networks made from now on without a ``device`` of their own.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda", "cuda:1", ...}

    Raises
    ------
    ValueError, RuntimeError
        If there is no such device, or it can't be used; the choice then stays as it was.
    """
    global _chosen
    _chosen = resolve(name, "set_device()")


def device() -> str:
    """The device in use: what `set_device` chose, else ``NBLSTM_DEVICE``, else ``"auto"``, resolved."""
    if _chosen is not None:
        return _chosen
    return resolve(os.environ.get("NBLSTM_DEVICE", "auto"), "the variable NBLSTM_DEVICE")


def device_for(requested: str | None) -> str:
    """The device of a network made with this ``device`` argument."""
    return device() if requested is None else resolve(requested, "device")
