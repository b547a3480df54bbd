"""What a detector is worth: figures with intervals, slices, attacks, a null test, plots."""
