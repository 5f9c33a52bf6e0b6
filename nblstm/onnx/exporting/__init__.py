"""Networks and models as ONNX graphs."""
