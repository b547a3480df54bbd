"""One folder a family of models; the registry finds them by their FAMILY."""
