"""Model Trainer: an API-first, self-hosted training service."""

__version__ = "0.1.0"
