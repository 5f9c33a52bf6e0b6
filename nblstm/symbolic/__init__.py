"""Equations as graphs: tracing, differentiation, and what is emitted from them."""
