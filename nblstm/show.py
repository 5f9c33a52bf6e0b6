"""What is printed for the user, on whatever stdout is."""

from __future__ import annotations

import codecs
import sys

#: The lines of tables and bars in ASCII, for consoles such as Windows's with cp1252.
_LINES = str.maketrans("─━│┌┬┐├┼┤└┴┘", "-=|+++++++++")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    plain = error.object[error.start : error.end].translate(_LINES)
    return plain.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("nblstm.ascii", _in_ascii)


def show(text: str, end: str = "\n") -> None:
    """Print a text; ``+-|=`` stand for lines and bars, and escapes for letters, that stdout cannot encode."""
    encoding = getattr(sys.stdout, "encoding", None)
    if encoding is not None:
        text = text.encode(encoding, "nblstm.ascii").decode(encoding)
    print(text, end=end, flush=True)
