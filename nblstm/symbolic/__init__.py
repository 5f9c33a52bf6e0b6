"""Equations as graphs: tracing, differentiation, choice of saved values, and emission as source."""
