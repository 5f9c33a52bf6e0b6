"""The base class of layers, and the parts that it is made of."""
