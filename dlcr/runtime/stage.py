"""How a stage's command ends: bad input is one line on stderr and exit code 1, a bug shows its trace."""

import sys
import warnings

import typer

from dlcr.runtime.alone import end_with_dvc


def run_stage(app: typer.Typer) -> None:
    """Run a stage's Typer command; ValueError, OSError and MemoryError become `error: ...` on stderr, exit code 1.

    Where DVC started it, it ends when that `dvc` is gone (`dlcr.runtime.alone`).
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    end_with_dvc()
    try:
        app()
    except (ValueError, OSError, MemoryError) as error:
        lines = (line.strip() for line in str(error).splitlines())
        print("error: " + " ".join(line for line in lines if line), file=sys.stderr)
        sys.exit(1)
