"""How a stage's command ends: bad input is one line on stderr and exit code 1, a bug shows its trace."""

import sys
import warnings

import typer

from dlcr.runtime.alone import end_with_dvc

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def run_stage(app: typer.Typer) -> None:
    """Run a stage's Typer command; ValueError, OSError and MemoryError become `error: ...` on stderr, exit code 1.

    Where DVC started it, it ends when that `dvc` is gone (`dlcr.runtime.alone`).
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    end_with_dvc()
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("interrupted: what is finished is kept, the same command goes on from there", file=sys.stderr)
        raise
    except (ValueError, OSError, MemoryError) as error:
        lines = (line.strip() for line in str(error).splitlines())
        said = " ".join(line for line in lines if line)
        if not said:  # as Python's own MemoryError
            said = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
        print(f"error: {said}", file=sys.stderr)
        sys.exit(1)
