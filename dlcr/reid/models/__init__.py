"""Re-ID models by name. Importing this package registers them all."""

from dlcr.reid.models import aim, c2d, cal, ccfa, hpm, mgn, pcb
from dlcr.reid.models.base import Batch, Maps, ReidModel, build_model, load_code, model_factory, register_model

__all__ = [
    "Batch",
    "Maps",
    "ReidModel",
    "aim",
    "build_model",
    "c2d",
    "cal",
    "ccfa",
    "hpm",
    "load_code",
    "mgn",
    "model_factory",
    "pcb",
    "register_model",
]
