"""The typed HTTP client of the command line (and of anything else that talks to the API)."""

from model_trainer.client.trainer_client import TrainerClient

__all__ = ["TrainerClient"]
