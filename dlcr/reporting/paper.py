"""What the paper and CCFA's slides report, as shipped in `paper/*.csv`.

Numbers are top-1 and mAP in percent on the real datasets named in each file; nothing here was measured by
this project.
"""

from importlib.resources import files

import pandas as pd

ORACLE = "oracle"
"""Key of the row that the paper does not have: variants rendered in the right clothes, the bound of any
inpainting."""


def paper_table(name: str) -> pd.DataFrame:
    """One of the paper's tables, every cell as text; `name` is the file's name without `.csv`.

    Raises FileNotFoundError that lists the tables there are.
    """
    folder = files("dlcr.reporting") / "paper"
    source = folder / f"{name}.csv"
    if not source.is_file():
        known = sorted(item.name.removesuffix(".csv") for item in folder.iterdir() if item.name.endswith(".csv"))
        raise FileNotFoundError(f"no table {name!r} of the paper; there are {', '.join(known)}")
    with source.open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
