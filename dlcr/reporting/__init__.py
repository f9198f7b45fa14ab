"""The report: the paper's tables beside this run's numbers, figures, claims, and one self-contained page.

    from dlcr.reporting.build import build, publish
    files = build(root, params, timings)        # every file's bytes, by path
    publish(files, root / "reports")

`python -m stages.report` does it. What was not run is shown as a gap, never as a zero.
"""
