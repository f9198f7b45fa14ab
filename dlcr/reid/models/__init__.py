"""Re-ID models by name. Importing this package registers them all."""

from dlcr.reid.models import cal
from dlcr.reid.models.base import Batch, ReidModel, build_model, model_factory, register_model

__all__ = ["Batch", "ReidModel", "build_model", "cal", "model_factory", "register_model"]
