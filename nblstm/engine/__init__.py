"""Passes of recurrent networks, on whichever device computes them."""
