"""Print to the user, on whatever stdout is, or warn."""

from __future__ import annotations

import codecs
import sys
import warnings

#: The lines of tables and bars in ASCII, for consoles such as Windows's with cp1252.
_LINES = str.maketrans("─━│┌┬┐├┼┤└┴┘", "-=|+++++++++")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    plain = error.object[error.start : error.end].translate(_LINES)
    return plain.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("nblstm.ascii", _in_ascii)


def is_open() -> bool:
    """Return whether there is a stdout; a program that runs on its own may have none, or have closed it."""
    return sys.stdout is not None and not getattr(sys.stdout, "closed", False)


def show(text: str, end: str = "\n") -> None:
    """Print a text, where there is a stdout.

    ``+-|=`` stand for lines and bars, and escapes for letters, that it cannot encode.
    """
    if not is_open():
        return
    encoding = getattr(sys.stdout, "encoding", None)
    if encoding is not None:
        text = text.encode(encoding, "nblstm.ascii").decode(encoding)
    print(text, end=end, flush=True)


def warn(text: str) -> None:
    """Warn with the line of the user's program from which nblstm was called, which then warns of it once."""
    level, frame = 1, sys._getframe()
    inner = ("nblstm", "numpy", "torch")  # with frames in between: numpy.errstate, a decorator; torch's Module
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in inner:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)
