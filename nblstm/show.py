"""What is printed: as it is where the stream can encode it, else in characters that it has."""

from __future__ import annotations

import sys

#: The lines of tables in ASCII, for consoles such as Windows's with cp1252.
_ASCII = str.maketrans("─│┌┬┐├┼┤└┴┘", "-|+++++++++")


def show(text: str) -> None:
    """Print a text, with ``+-|`` for the lines of tables and escapes for letters where stdout cannot encode them."""
    encoding = getattr(sys.stdout, "encoding", None)
    if encoding is not None:
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    print(text, flush=True)
