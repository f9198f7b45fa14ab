"""What the paper reports, as shipped in `paper/*.csv`, and where its sources contradict each other.

Numbers are top-1 and mAP in percent on the real datasets named in each file; nothing here was measured by
this project.
"""

from importlib.resources import files

import pandas as pd

A1 = "tableA1_ablation_prcc"
A3 = "tableA3_prompt_sources_prcc"
T3 = "table3_and_a2_existing_methods_prcc"
CCFA = "ccfa_ablations_prcc"
A4 = "tableA4_vision_language_models_prcc"
A5 = "tableA5_progressive_learning_prcc"
A6 = "tableA6_time_and_space_a100_80gb"
ORACLE = "oracle"
"""Key of the row that the paper does not have: variants rendered in the right clothes, the bound of any
inpainting."""

DISAGREEMENTS = {
    "a1": [
        "Row 4 (all variants, no progressive learning) is 62.9 in Table A1; Table A5 gives 64.0 for what "
        "reads as the same.",
        "The text promises six models gains of 12 to 30 % and 2 to 8 %; GEFF gains 1.0 in Table 3 (stage 1).",
        "RCSANet on PRCC is 50.2 top-1 and 48.6 mAP in DLCR's Table 2, 48.6 and 50.2 in the CCFA slides.",
        "CAL on LTCC is 39.5 top-1 in DLCR (its authors' own run), 40.1 in the CCFA slides.",
    ],
    "a5": [
        "Table A5's top-1 without progressive learning is 64.0; Table A1's row 4 is 62.9. Here row 4 pairs "
        "each image with one of all K variants, while Table A5 concatenates them: two runs, two numbers.",
    ],
}
"""Contradictions between the sources, by the table under which the report says so."""


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
