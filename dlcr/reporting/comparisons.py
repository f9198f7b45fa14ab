"""Tables that set this run's evaluations beside the paper's numbers: Tables 2, 3, 4, A1 to A4, A8 and those of CCFA.

Every function takes the evaluations by the keys of its section of `report` in params.yaml, None where one was not run,
and `compare` (`measured.comparer`). It returns a row a line of the table, those of the paper also where nothing was
run: what the row is, and the columns of `measured.joined`. A key that the table does not have is a ValueError.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from dlcr.reporting.measured import ENDS, MEASURES, Compare, Ranked, joined, means, reported
from dlcr.reporting.paper import A1, A3, A4, CCFA, CCFA_MAIN, ORACLE, T2, T3, T4, paper_table
from dlcr.reporting.results import Result

Results = Mapping[str, Result | None]
NOTHING: Ranked = (None, "plain")

VARIANTS = {
    "baseline": ("baseline", "plain"),
    "stage 1": ("stage_1", "plain"),
    "stage 1 + 2": ("stage_2", "refined"),
}
"""Rows of a model in Table 3: which of its evaluations, and which kind of its rankings."""
FAMILIES = {"CCFA": "clothes-changing"}
"""Of models that the paper's Table 3 does not have."""
PROMPT_ROWS = {
    "a3": (A3, "prompts", ("random", "vlm", "vlm+llm")),
    "a4": (A4, "vlm", ("llava", "instructblip")),
}
"""By table: the paper's file, its column that says what a row is, and the rows' keys in params.yaml."""
BASE = "CAL"
"""The method of Table 2 and the model of Table 4 that differences are to."""
OWN = "CAL + DLCR"
"""The paper's method: what it reports of it in Table 2 is its own."""
RUNNABLE = (BASE, "AIM", "CCFA", OWN)
"""Methods of the paper's Table 2 that this project can run; the others are only cited."""
SOURCES = {
    "reported": "cited",
    "reported; no public source": "cited; no public source",
    "baseline": "cited",
    "baseline; reproduced by the DLCR authors": "run by DLCR's authors",
    "ours": "DLCR",
}
"""Where the paper has a number of Table 2 from, by its note in the file."""

CCFA_ROWS = {
    "augmentation generation": {
        "phase-1": "baseline without augmentation",
        "normal": "samples of N(0, Sigma_c)",
        "all": "learned generator",
    },
    "augmentation strategy": {"phase-1": "baseline", "uncorrelated": "id-uncorrelated", "all": "id-correlated"},
    "generator losses": {
        "no-cciu": "without L_cciu",
        "clo-only": "L_cciu with the D_clo term only",
        "id-only": "L_cciu with the D_id term only",
        "no-sta": "without L_sta",
        "no-adv-g": "without L_adv^G",
        "no-adv-d": "without L_adv^D",
        "no-adv": "without L_adv^G and L_adv^D",
        "all": "all",
    },
}
"""CCFA's three ablations: by group the rows' keys in params.yaml, and how the slides' tables name them."""
CCFA_METHODS = {"CAL": "CAL", "CCFA (phase I)": "phase-1", "CCFA (phase III)": "all"}
"""Methods of the slides' main table that this project runs, and their keys in params.yaml."""
CCFA_SETTINGS = ("cc", "sc", "general")


def table_methods(results: Mapping[str, Mapping[str, Ranked]], compare: Compare) -> pd.DataFrame:
    """Table 2, the state of the art: by dataset the paper's methods, then those that this run adds to it.

    results: by the dataset's name (the paper's where it is one of its datasets) its methods and rankings. Columns
    `dataset`, `method`, `venue` and `source`, where the paper's number is from; differences are to CAL. This run's
    datasets come first.
    """
    paper, rows = paper_table(T2), []
    for dataset in dict.fromkeys([*results, *paper["dataset"]]):
        found, lines = results.get(dataset, {}), paper[paper["dataset"] == dataset].set_index("model").to_dict("index")
        for method in dict.fromkeys([*lines, *found]):
            row = {"dataset": dataset, "method": method, "venue": None, "source": "this run"}
            if method in lines:
                source = SOURCES[lines[method]["note"]] + ("" if method in RUNNABLE else " only")
                row |= reported(lines[method]) | {"venue": lines[method]["venue"] or None, "source": source}
            rows.append(row | compare(found.get(method, NOTHING), found.get(BASE, NOTHING)))
    return joined(rows, ["dataset", "method", "venue", "source"])


def table_models(results: Mapping[str, Results], compare: Compare) -> pd.DataFrame:
    """Tables 3 and A2: each model's baseline, trained with generated data (stage 1), and with progressive learning and
    refinement too (stage 1 + 2, Sec. 10).

    results: by model (PCB, MGN, ...) its evaluations `baseline`, `stage_1` and `stage_2`. Three rows a model, the
    paper's models first: `family`, `model`, `variant`; differences are to the model's baseline.
    """
    paper, rows = paper_table(T3), []
    families = dict(zip(paper["model"], paper["family"], strict=True)) | FAMILIES
    lines = paper.set_index(["model", "variant"]).to_dict("index")
    for model in dict.fromkeys([*paper["model"], *results]):
        found = results.get(model, {})
        for variant, (which, kind) in VARIANTS.items():
            row = {"family": families.get(model), "model": model, "variant": variant}
            if (model, variant) in lines:
                row |= reported(lines[model, variant])
            rows.append(row | compare((found.get(which), kind), (found.get("baseline"), "plain")))
    return joined(rows, ["family", "model", "variant"])


def table_domains(results: Mapping[tuple[str, str, str], Ranked], compare: Compare) -> pd.DataFrame:
    """Table 4, out of distribution: the dataset a `model` was `trained_on`, and another that it is `evaluated_on`.

    results: by these three, datasets by the paper's name where it has them. This run's datasets come first; differences
    are to CAL, trained and evaluated on the same.
    """
    keys = ["trained_on", "evaluated_on", "model"]
    lines = paper_table(T4).set_index(keys).to_dict("index")
    together = [*lines, *(key for key in results if key not in lines)]
    rows = []
    for place in dict.fromkeys(key[:2] for key in [*results, *lines]):
        base = results.get((*place, BASE), NOTHING)
        for key in (key for key in together if key[:2] == place):
            row = dict(zip(keys, key, strict=True)) | (reported(lines[key]) if key in lines else {})
            rows.append(row | compare(results.get(key, NOTHING), base))
    return joined(rows, keys)


def table_a1(results: Results, compare: Compare) -> pd.DataFrame:
    """Table A1: the paper's six rows ("1" to "6") and the `oracle` bound; differences are to row 1.

    Row 6 takes the refined ranking. Columns `row` and what the paper says of it (`generated_data`, ...).
    """
    lines = {row["row"]: row for row in paper_table(A1).to_dict("records")}
    _check("a1", results, (*lines, ORACLE))
    described = list(next(iter(lines.values())))[:-2]  # all but its numbers
    bound = ("oracle", "oracle: rendered in the right clothes (upper bound)", "yes", "yes", "no")
    rows = []
    for key in (*lines, ORACLE):
        line = lines.get(key) or dict(zip(described, bound, strict=True)) | dict.fromkeys(MEASURES, "")
        row = {name: line[name] for name in described} | reported(line)
        kind = "refined" if key == "6" else "plain"
        rows.append(row | compare((results.get(key), kind), (results.get("1"), "plain")))
    return joined(rows, described)


def table_prompts(table: str, results: Results, compare: Compare) -> pd.DataFrame:
    """Table A3 (`table` "a3": where prompts come from) or A4 ("a4": which describer): `row`, its key, and `what` it is;
    differences are to the table's first row."""
    name, column, keys = PROMPT_ROWS[table]
    _check(table, results, keys)
    base, rows = (results.get(keys[0]), "plain"), []
    for key, line in zip(keys, paper_table(name).to_dict("records"), strict=True):
        row = {"row": key, "what": line[column]} | reported(line)
        rows.append(row | compare((results.get(key), "plain"), base))
    return joined(rows, ["row", "what"])


def table_variants(results: Results, compare: Compare) -> pd.DataFrame:
    """Figure A8: scores over `k`, the number of generated variants an image, rising; 0 is the baseline.

    results: by K as text. Differences are to `reference_k` of the keys. The paper shows a curve and gives no numbers.
    """
    wrong = [key for key in results if not key.isdigit()]
    if wrong:
        raise ValueError(f"report.a8: expected K, a whole number, found {wrong[0]!r}")
    found = {int(key): (result, "plain") for key, result in results.items()}
    base = found.get(reference_k(found), NOTHING)
    return joined([{"k": k} | compare(found[k], base) for k in sorted(found)], ["k"])


def reference_k(ks: Iterable[int]) -> int:
    """What the scores over K are compared with: the paper's K, 10, or the greatest below; else the smallest.

    So the differences of greater K say what more variants than the paper's still gain. 0 if there is none.
    """
    ks = sorted(ks)
    return max((k for k in ks if k <= 10), default=ks[0] if ks else 0)


def table_guidance(results: Results, compare: Compare) -> pd.DataFrame:
    """Generated `without` and `with` a discriminator's guidance (Sec. 12), as `row`; the difference is to without."""
    base = (results.get("without"), "plain")
    return joined(
        [{"row": key} | compare((results.get(key), "plain"), base) for key in ("without", "with")],
        ["row"],
    )


def table_combinations(results: Mapping[str, Ranked], compare: Compare) -> pd.DataFrame:
    """What the paper does not combine: `what`, by its name in params.yaml, and the `kind` of its ranking; differences
    are to the first row."""
    base = next(iter(results.values()), NOTHING)
    return joined(
        [{"what": what, "kind": ranked[1]} | compare(ranked, base) for what, ranked in results.items()],
        ["what", "kind"],
    )


def table_ccfa(results: Results, compare: Compare) -> pd.DataFrame:
    """CCFA's three ablations (its slides) with all their rows: `group`, `row`, its key, and `what` it is.

    The slides repeat phase I and the whole model in several groups: so do the rows. Differences are to phase I, which
    augments nothing. The slides give top-1 alone; `paper_sc_top1`, `sc_top1` and `sc_top1_std` are those in the setting
    of same clothes.
    """
    _check("ccfa", results, _ccfa_keys())
    lines = paper_table(CCFA).set_index(["group", "setting"]).to_dict("index")
    rows = []
    for group, settings in CCFA_ROWS.items():
        for key, what in settings.items():
            line, result = lines[group, what], results.get(key)
            row = {"group": group, "row": key, "what": what, "paper_top1": float(line["cc_rank1"])}
            row["paper_sc_top1"] = float(line["sc_rank1"])
            row |= {name: value for name, value in _in_setting(result, "sc").items() if name.startswith("sc_top1")}
            rows.append(row | compare((result, "plain"), (results.get("phase-1"), "plain")))
    return joined(rows, ["group", "row", "what", "paper_sc_top1", "sc_top1", "sc_top1_std"])


def table_ccfa_main(results: Results, compare: Compare) -> pd.DataFrame:
    """The main table of CCFA's slides: its methods with the slides' numbers on PRCC and LTCC, and this run's of CAL and
    CCFA's phases in every setting that their evaluation has.

    Columns `method`, `modality`, `source`, the slides' (`paper_prcc_cc_map`, ...), `evaluation`, `seeds`, `queries`,
    and by setting top-1 and mAP with deviation (`sc_top1`, `sc_top1_std`, ...); in the setting of changed clothes also
    the 95 % interval and the difference to CAL (`cc_top1_low`, ..., `cc_map_p`).
    """
    _check("ccfa", results, _ccfa_keys())
    rows = []
    for line in paper_table(CCFA_MAIN).to_dict("records"):
        method, modality = line.pop("method"), line.pop("modality")
        key = CCFA_METHODS.get(method)
        row = {"method": method, "modality": modality, "source": "cited" if key else "cited only"}
        row |= {f"paper_{name}": float(value or "nan") for name, value in line.items()}
        result = results.get(key)
        scores = compare((result, "plain"), (results.get("CAL"), "plain"))
        kept = ("evaluation", "seeds", "queries")
        row |= {name if name in kept else f"{result.setting}_{name}": value for name, value in scores.items()}
        for setting in CCFA_SETTINGS:
            row |= _in_setting(result, setting)
        rows.append(row)
    ends = {"cc": ENDS, "sc": ENDS[:2], "general": ENDS[:2]}
    columns = [f"{setting}_{measure}{end}" for setting in ends for measure in MEASURES for end in ends[setting]]
    first = [name for name in rows[0] if name.startswith("paper_")]
    wanted = ["method", "modality", "source", *first, "evaluation", "seeds", "queries", *columns]
    return pd.DataFrame(rows).reindex(columns=wanted, fill_value=np.nan)


def _in_setting(result: Result | None, setting: str) -> dict:
    """An evaluation's means and deviations in one setting, their names headed by it; {} if it does not have it."""
    if result is None or setting not in result.metrics["mean"]:
        return {}
    found = means(result, setting)
    return {f"{setting}_{name}": found[name] for name in found if name != "seeds"}


def _ccfa_keys() -> list[str]:
    return ["CAL", *dict.fromkeys(key for settings in CCFA_ROWS.values() for key in settings)]


def _check(table: str, results: Results, keys: Iterable[str]) -> None:
    unknown = sorted(set(results) - set(keys))
    if unknown:
        raise ValueError(f"report.{table}: no row {unknown[0]!r}; it has {', '.join(keys)}")
