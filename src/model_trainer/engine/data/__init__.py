"""From files to batches: corpora, splits, token blocks, the order of the data."""
