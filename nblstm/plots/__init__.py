"""Pictures of recurrent networks, drawn with matplotlib: gates and states over time, and the flow of gradients."""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError(
        "nblstm.plots needs matplotlib, which cannot be imported; pip install -e '.[plots]' in nblstm's folder"
    ) from error

from nblstm.plots.gate_panels import gates
from nblstm.plots.gradient_lines import gradient_flow

__all__ = ["gates", "gradient_flow"]


def __dir__() -> list[str]:
    return __all__
