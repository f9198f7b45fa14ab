"""What the paper and CCFA's slides report, as shipped in `paper/*.csv`, and where their sources contradict each other.

Numbers are top-1 and mAP in percent on the real datasets named in each file; nothing here was measured by
this project.
"""

from importlib.resources import files

import pandas as pd

T1 = "table1_dataset_statistics"
T2 = "table2_state_of_the_art"
T3 = "table3_and_a2_existing_methods_prcc"
T4 = "table4_out_of_distribution"
A1 = "tableA1_ablation_prcc"
A3 = "tableA3_prompt_sources_prcc"
A4 = "tableA4_vision_language_models_prcc"
A5 = "tableA5_progressive_learning_prcc"
A6 = "tableA6_time_and_space_a100_80gb"
CCFA = "ccfa_ablations_prcc"
CCFA_MAIN = "ccfa_table_main"
ORACLE = "oracle"
"""Key of the row that the paper does not have: variants rendered in the right clothes, the bound of any
inpainting."""
DATASETS = {"prcc": "PRCC", "ltcc": "LTCC", "ccvid": "CCVID", "vc-clothes": "VC-Clothes", "last": "LaST"}
"""The paper's datasets by the reader that understands them."""

DISAGREEMENTS = {
    "a1": [
        "Row 4 (all variants, no progressive learning) is 62.9 in Table A1; Table A5 gives 64.0 for what "
        "reads as the same.",
    ],
    "t2": [
        "RCSANet on PRCC is 50.2 top-1 and 48.6 mAP in DLCR's Table 2, 48.6 and 50.2 in the CCFA slides.",
        "CAL on LTCC is 39.5 top-1 in DLCR (its authors' own run), 40.1 in the CCFA slides.",
        "AIM on PRCC is 57.9 top-1 and 58.3 mAP in Table 2 (its authors' numbers), 55.7 and 56.3 in Table 3 (run by "
        "DLCR's authors).",
    ],
    "t3": [
        "The text promises gains in top-1 of 12 to 30 % for standard models and of 2 to 8 % for clothes-changing ones; "
        "in the table PCB gains 11.5 and GEFF 1.0 (stage 1).",
        "The paper's stage 1 of CAL, 62.9, is row 4 of Table A1: generated data without progressive learning, which "
        "adds 2.1 there.",
    ],
    "a5": [
        "Table A5's top-1 without progressive learning is 64.0; Table A1's row 4 is 62.9. Here row 4 pairs "
        "each image with one of all K variants, while Table A5 concatenates them: two runs, two numbers.",
    ],
    "ccfa-main": [
        "RCSANet on PRCC is 48.6 top-1 and 50.2 mAP in the slides, 50.2 and 48.6 in DLCR's Table 2.",
        "CAL on LTCC is 40.1 top-1 in the slides, 39.5 in DLCR's Table 2.",
        "The slides have 3DSL's 51.3 and GI-ReID's 37.5 on PRCC under mAP; DLCR's Table 2 gives them as top-1, and so "
        "does this table.",
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
