"""Matrix products on the vector unit."""
