"""What is learnt from which data: loss, metrics, carried state."""
