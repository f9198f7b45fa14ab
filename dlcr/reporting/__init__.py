"""The report: the paper's tables beside this run's numbers, figures, and one self-contained page.

    files = build(root, params, timings)        # every file's bytes, by path
    publish(files, root / "reports")

`python -m stages.report` does it. What was not run is shown as a gap, never as a zero.
"""

from dlcr.reporting.build import build, publish
from dlcr.reporting.paper import paper_table

__all__ = ["build", "paper_table", "publish"]
