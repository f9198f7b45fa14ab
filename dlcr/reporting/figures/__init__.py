"""The figures of the report, a module each, and the files behind `dvc plots`.

    pictures(root, params, results, tables, histories)      # by name, what can be made
    plot_data(root, params, tables, histories)              # CSV files by path in reports/

What they share is in `style`; which images they show is chosen in `dlcr.reporting.sheets`.
"""

from dlcr.reporting.figures.collect import pictures, plot_data
from dlcr.reporting.figures.samples import overlay

__all__ = ["overlay", "pictures", "plot_data"]
