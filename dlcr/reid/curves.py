"""DVCLive's curves of a seed; a module of its own because DVCLive takes a second to import."""

from pathlib import Path

import numpy as np
from dvclive import Live


class Curves(Live):
    """DVCLive's files of curves, and nothing but them.

    Left to itself it looks for the repository's last commit, which a fresh one lacks, and signals every step by a file
    that all runs of a repository share: neither may stop a training.
    """

    def _init_dvc(self) -> None: ...

    def log(self, row: dict[str, float]) -> None:
        """An epoch's row of the history as a step of the curves."""
        self.step = row["epoch"]
        for name, value in row.items():
            if name != "epoch" and np.isfinite(value):
                self.log_metric(name, value)
        self.make_summary()


def open_curves(folder: Path, history: list[dict[str, float]]) -> Curves:
    """The curves in `folder`, with what a stopped run had logged."""
    curves = Curves(str(folder), dvcyaml=False, save_dvc_exp=False, report=None, monitor_system=False)
    for row in history:
        curves.log(row)
    return curves
