"""Door: people."""
