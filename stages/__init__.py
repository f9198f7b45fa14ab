"""The pipeline's stages: each module is a Typer command, `python -m stages.<stage> NAME`."""

import os

# A stage shows one progress line of its own; the libraries' bars and notices about optional packages would drown it.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
