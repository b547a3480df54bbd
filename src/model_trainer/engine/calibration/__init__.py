"""From validation logits to probabilities that can be believed, and thresholds that keep what they promise."""
