"""A trained chain as ONNX graphs, their int8 versions, and a card."""
