"""Tables that set evaluations side by side: every model without and with DLCR, CCFA's ablations, what is combined."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dlcr.reporting.paper import CCFA, T3, paper_table
from dlcr.reporting.results import Result
from dlcr.reporting.tables import ENDS, MEASURES, compared

VARIANTS = {"baseline": ("baseline", "plain"), "stage 1": ("dlcr", "plain"), "stage 1 + 2": ("dlcr", "refined")}
"""Rows of a model in Table 3: which of its evaluations, and which kind of its rankings."""
CCFA_ROWS = {
    "phase-1": ("augmentation generation", "baseline without augmentation"),
    "normal": ("augmentation generation", "samples of N(0, Sigma_c)"),
    "uncorrelated": ("augmentation strategy", "id-uncorrelated"),
    "no-cciu": ("generator losses", "without L_cciu"),
    "clo-only": ("generator losses", "L_cciu with the D_clo term only"),
    "id-only": ("generator losses", "L_cciu with the D_id term only"),
    "no-sta": ("generator losses", "without L_sta"),
    "no-adv-g": ("generator losses", "without L_adv^G"),
    "no-adv-d": ("generator losses", "without L_adv^D"),
    "no-adv": ("generator losses", "without L_adv^G and L_adv^D"),
    "all": ("generator losses", "all"),
}
"""Rows of CCFA's ablations by their keys in params.yaml, as the slides' tables name them."""


def table_models(results: Mapping[str, Mapping[str, Result | None]], bootstrap: int, seed: int) -> pd.DataFrame:
    """Tables 3 and A2: each model's baseline, with generated data (stage 1), and refined too (stage 1 + 2).

    results: by model (PCB, MGN, ...) its evaluations `baseline` and `dlcr`, None if not run. Returns three rows a
    model, the paper's models first: `model`, `variant`, and measures as in `table_a1`, differences to the model's
    baseline.
    Models that the paper does not have lack `paper_*`.
    """
    paper = paper_table(T3)
    rows = []
    for model in dict.fromkeys([*paper["model"], *results]):
        found = results.get(model, {})
        for variant, (which, kind) in VARIANTS.items():
            row = {"model": model, "variant": variant, "evaluation": None}
            reported = paper[(paper["model"] == model) & (paper["variant"] == variant)]
            row |= {f"paper_{measure}": float(value) for measure in MEASURES for value in reported[measure]}
            result = found.get(which)
            if result is not None:
                base = None if variant == "baseline" else found.get("baseline")
                row |= {"evaluation": result.name} | compared(result, kind, base, bootstrap, seed)
            rows.append(row)
    return _table(rows, ["model", "variant"])


def table_ccfa(results: Mapping[str, Result | None], bootstrap: int, seed: int) -> pd.DataFrame:
    """CCFA's ablations (its slides): what augments, by which strategy, and the generator's losses.

    results: by the keys of CCFA_ROWS, None or absent if not run. Differences are to phase I, which has no augmentation.
    The slides give top-1 alone. ValueError for a row that there is not.
    """
    unknown = sorted(set(results) - set(CCFA_ROWS))
    if unknown:
        raise ValueError(f"report.ccfa: no row {unknown[0]!r}; it has {', '.join(CCFA_ROWS)}")
    paper = paper_table(CCFA).set_index(["group", "setting"])["cc_rank1"]
    rows = []
    for key, (group, setting) in CCFA_ROWS.items():
        row = {"row": key, "group": group, "what": setting, "evaluation": None}
        row["paper_top1"] = float(paper[group, setting])
        result = results.get(key)
        if result is not None:
            base = None if key == "phase-1" else results.get("phase-1")
            row |= {"evaluation": result.name} | compared(result, "plain", base, bootstrap, seed)
        rows.append(row)
    return _table(rows, ["row", "group", "what"])


def table_combinations(results: Mapping[str, tuple[Result | None, str]], bootstrap: int, seed: int) -> pd.DataFrame:
    """What the paper does not combine. results: by a row's name its evaluation, None if not run, and the kind of its
    rankings. Differences are to the first row.
    """
    rows = []
    base = next(iter(results.values()), (None, ""))[0]
    for i, (what, (result, kind)) in enumerate(results.items()):
        row = {"what": what, "kind": kind, "evaluation": None}
        if result is not None:
            row |= {"evaluation": result.name} | compared(result, kind, base if i else None, bootstrap, seed)
        rows.append(row)
    return _table(rows, ["what", "kind"])


def _table(rows: list[dict], columns: list[str]) -> pd.DataFrame:
    columns = [*columns, "evaluation", "seeds", "queries"]
    for measure in MEASURES:
        columns += [f"paper_{measure}", *(f"{measure}{end}" for end in ENDS)]
    return pd.DataFrame(rows, columns=None if rows else columns).reindex(columns=columns, fill_value=np.nan)
