"""Settings of the process: read once, frozen. What describes a run is a spec, not a setting."""

from model_trainer.core.config.settings import Settings, load_settings

__all__ = ["Settings", "load_settings"]
