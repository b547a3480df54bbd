"""A recurrent language model over characters (Graves 2013; Karpathy 2015)."""

from model_trainer.models.char_lstm.config import CharLstmFamily

FAMILY = CharLstmFamily()
