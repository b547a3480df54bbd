"""What the owner is told unasked: once, in order, and at a bearable pace."""
