"""Samples, batches, targets and weights."""
