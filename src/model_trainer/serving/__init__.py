"""Judges texts with an exported bundle: onnxruntime, tokenizers and numpy, no torch."""
