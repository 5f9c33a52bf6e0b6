"""Recurrent layers with Keras's arguments."""
