"""One part of what `benchmarks/device.sh` runs, to OUT/PART.json: python -m benchmarks.device PART OUT [--tiny]."""

from importlib import import_module
from pathlib import Path

import typer

from benchmarks.device.results import Results

PARTS = ("smoke", "inpaint", "vision", "training", "memory", "compile")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)  # the last lines of a log tell the error


@app.command()
def main(part: str, out: Path, tiny: bool = False) -> None:
    """Run PART; exit code 1 where something in it failed, which the file says too. TINY: sizes for any CPU."""
    if part not in PARTS:
        raise ValueError(f"unknown part {part!r}, expected one of: {', '.join(PARTS)}")
    results = Results(out / f"{part}.json", tiny)
    import_module(f"benchmarks.device.{part}").run(results, tiny)
    if results.failed:
        print(f"failed: {'; '.join(results.failed)}", flush=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
