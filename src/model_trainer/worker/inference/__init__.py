"""Questions to trained models: a parent that never computes, a forked child that holds the loaded models."""
