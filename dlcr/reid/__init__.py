"""Re-identification models: what they are made of, how they train, and loading them again."""

from dlcr.reid.checkpoints import load_model
from dlcr.reid.models import Batch, ReidModel, build_model, register_model
from dlcr.reid.train import Recipe, train_run

__all__ = ["Batch", "Recipe", "ReidModel", "build_model", "load_model", "register_model", "train_run"]
