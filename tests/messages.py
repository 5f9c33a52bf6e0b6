"""What the message of an exception has to be."""

import pytest


def message_of(error, call, *needed):
    """The one sentence of the exception that ``call`` raises; it must contain all of ``needed``."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    assert 20 < len(message) < 900  # an LSTM lists its thirty arguments, an unknown metric all that there are
    for part in needed:
        assert part in message, message
    return message
