"""One folder a kind of tokenizer; the registry finds them by their TOKENIZER."""
