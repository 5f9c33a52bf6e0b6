"""Which device computes: the variable ``NBLSTM_DEVICE``, `set_device`, and why not."""

from __future__ import annotations

import os
import re
from importlib import import_module

_chosen: str | None = None


def cuda_unavailable(index: int = 0) -> str | None:
    """Why the GPU of that number can't be used here, as a clause; None if it can."""
    return import_module("nblstm.cuda").unavailable(index)


def backend_of(device: str):
    """The kernels and arrays of a resolved device, from the package that holds them, which is imported now."""
    package, _, index = device.partition(":")
    return import_module(f"nblstm.{package}").backend(int(index or 0))


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
    if name == "cpu":
        return name
    reason = cuda_unavailable(0 if name == "auto" else int(name.partition(":")[2] or 0))
    if name == "auto":
        return "cuda" if reason is None else "cpu"
    if reason is not None:
        raise RuntimeError(f"{source} asks for {name!r}, but {reason}; or choose 'cpu' or 'auto'")
    return name


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
    return resolve(os.environ.get("NBLSTM_DEVICE") or "auto", "the variable NBLSTM_DEVICE")


def device_for(requested: str | None) -> str:
    """The device of a network made with this ``device`` argument."""
    return device() if requested is None else resolve(requested, "device")
