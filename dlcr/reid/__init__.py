"""Re-identification models: what they are made of, and loading those that `dlcr.reid.train` trained."""

from dlcr.reid.checkpoints import load_model
from dlcr.reid.models import Batch, ReidModel, build_model, register_model

__all__ = ["Batch", "ReidModel", "build_model", "load_model", "register_model"]
