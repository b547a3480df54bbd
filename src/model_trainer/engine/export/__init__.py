"""Turns a trained detector into what serves it: ONNX, int8 behind a gate, a bundle, a card."""
