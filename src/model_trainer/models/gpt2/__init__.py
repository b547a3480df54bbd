"""GPT-2: a decoder-only transformer with learned positions (Radford et al. 2019)."""

from model_trainer.models.gpt2.config import Gpt2Family

FAMILY = Gpt2Family()
