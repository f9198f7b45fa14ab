"""Re-ID models by name. Each file of this folder that registers one is imported here: a new model is one new file."""

from importlib import import_module

from dlcr.reid.models.base import Batch, Maps, ReidModel, build_model, load_code, model_factory, register_model
from dlcr.runtime.registry import entry_names

for _name in entry_names(__name__):
    import_module(f"{__name__}.{_name.replace('-', '_')}")

__all__ = ["Batch", "Maps", "ReidModel", "build_model", "load_code", "model_factory", "register_model"]
