"""The figures of the report, a module each, and the files behind `dvc plots`.

    plan = schedule_table(params, survey)
    pictures(root, params, results, tables, histories, plan)    # by name, what can be made
    plot_data(tables, histories, plan)                          # CSV files by path in reports/

What they share is in `style`; which images they show is chosen in `dlcr.reporting.sheets`.
"""

from dlcr.reporting.figures.collect import pictures, plot_data
from dlcr.reporting.figures.samples import overlay
from dlcr.reporting.figures.schedule import schedule_table

__all__ = ["overlay", "pictures", "plot_data", "schedule_table"]
