"""Writes reports/ from evaluations/ and reports/sets.json: tables, figures, plots and the page; pictures where data is.

python -m stages.report
"""

from pathlib import Path

import typer

from dlcr.params import load_params
from dlcr.reporting.build import build, publish
from dlcr.runtime.determinism import set_up
from dlcr.runtime.stage import run_stage
from dlcr.runtime.timing import load_all

app = typer.Typer(add_completion=False)


@app.command()
def main() -> None:
    """Report what was run, beside what the paper reports."""
    params = load_params()
    set_up()
    page = publish(build(Path(), params, load_all()), Path("reports"))
    print(page)


if __name__ == "__main__":
    run_stage(app)
