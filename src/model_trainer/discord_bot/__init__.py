"""Door: Discord. Start, watch and stop training from a direct message."""
