"""Text detector: an encoder of the hub or of one's own making, with one logit on top: human or AI."""

from model_trainer.models.text_detector.config import TextDetectorFamily

FAMILY = TextDetectorFamily()
