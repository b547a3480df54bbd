"""Questions that a schema cannot answer. Bounded looks only: the full scan is the worker's."""
