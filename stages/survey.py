"""Stage survey: what was made before training, in numbers that Git keeps.

    python -m stages.survey

Reads what there is in data/, masks/, descriptions/, outfits/, generated/ and discriminators/; writes reports/sets.json
(counts, what the quality gate drops) and, for `dvc metrics`, reports/stages.json (scores of the stages against the
truth, where the dataset knows it: percent). The report needs these, and so no data.
"""

from pathlib import Path

import typer

from dlcr.params import load_params
from dlcr.reporting.formats import rounded
from dlcr.reporting.scores import stage_scores
from dlcr.reporting.survey import survey
from dlcr.runtime import determinism
from dlcr.runtime.files import write_json
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)


@app.command()
def main() -> None:
    """Count and score what was made before training."""
    params = load_params()
    determinism.set_up()
    scores, found = stage_scores(Path(), params), survey(Path(), params)
    write_json(Path("reports/stages.json"), rounded(scores, 2))
    write_json(Path("reports/sets.json"), found)


if __name__ == "__main__":
    run_stage(app)
