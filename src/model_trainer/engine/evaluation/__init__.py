"""What a trained model is worth: exact metrics, samples, comparisons."""
