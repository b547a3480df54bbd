"""Training, blind to family, queue and disk layout."""
