"""Anybody's features through the protocols of a dataset: scores with intervals, refined where there are variants,
against another file's, and what makes a number of this test wrong.

found = evaluate_files(Path("features.npz"), Path("data/prcc"), "prcc")
print(render(found))
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.data import load_manifest, open_images
from dlcr.data.readers import find_reader
from dlcr.evaluation.labels import by_subject, own_images
from dlcr.evaluation.metrics import Scores, evaluate_sides
from dlcr.evaluation.protocols import Comparison, comparisons, joint_labels, single_shot
from dlcr.evaluation.runs import Watch, evaluate_centralized, rank
from dlcr.evaluation.sides import Side
from dlcr.evaluation.statistics import holm, mean_estimate, paired_difference
from dlcr.evaluation.tracklets import Variants, compared_tracklets
from dlcr.exchange.feature_files import arrange, arrange_variants, read_features
from dlcr.exchange.leaks import Leak, find_leaks, same_features
from dlcr.reporting.formats import equals, interval, is_gap, number, signed

LEAKS = 3
"""Exit code where a leak was found, apart from those of bad input (1) and of a wrong command line (2)."""
RANKS = (1, 5, 10)


@dataclass(frozen=True)
class Line:
    """One ranking in one setting, in percent.

    ranking: plain, refined, averaged, centralized (kinds of `dlcr.evaluation.runs.KINDS`), single-shot.
    queries: those that count; unmatched: those without a correct answer. top1, map: with 95 % intervals over other
    people, NaN for single-shot.
    """

    setting: str
    ranking: str
    queries: int
    unmatched: int
    top1: float
    top1_low: float
    top1_high: float
    top5: float
    top10: float
    map: float
    map_low: float
    map_high: float


@dataclass(frozen=True)
class Difference:
    """This file against the other, on the same queries, in points; p as tested, and corrected by Holm over all."""

    setting: str
    ranking: str
    measure: str
    difference: float
    low: float
    high: float
    p: float
    corrected: float


@dataclass(frozen=True)
class Found:
    """What is said of a file of features."""

    lines: list[Line]
    differences: list[Difference] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)


def evaluate_files(
    features: Path,
    dataset: Path,
    reader: str,
    variants: Path | None = None,
    against: Path | None = None,
    m: int = 5,
    centralize: bool = False,
) -> Found:
    """Scores of a file of features (`dlcr.exchange.feature_files`) in every setting of a packed dataset.

    dataset: its folder, with manifest.parquet and images. reader: its protocols (`dlcr.data.readers`). variants:
    features of the queries' variants, which refine with m (Algorithm 1). centralize: by NFC too. against: another file,
    whose plain ranking is compared.
    Raises FileNotFoundError and ValueError as `read_features` and `arrange` do, and for variants of other dimensions.
    """
    manifest = load_manifest(dataset)
    rows, known = compared_tracklets(manifest).rows, set(manifest["image_id"])
    values = arrange(read_features(features), rows, features, known)
    made = None if variants is None else _variants(variants, rows, values.shape[1], known)
    cases = comparisons(rows, Side(values, joint_labels(rows)), reader)
    single = find_reader(reader).single_shot
    lines, plain = [], {}
    for setting, case in cases.items():
        if not _has_answers(case):
            lines.append(Line(setting, "plain", 0, len(case.query), *[np.nan] * 8))
            continue
        ranked = rank(case, None if made is None else made.of(case.query_rows), m, Watch()).scores
        if centralize:
            ranked["centralized"] = evaluate_centralized(case)
        for ranking, scores in ranked.items():
            lines.append(_line(case, ranking, scores, rows))
            if ranking == "plain":
                plain[setting] = scores
        if single and setting == next(iter(cases)):
            shot = single_shot(case.query, case.gallery, case.junk)
            gaps = dict.fromkeys(("top1_low", "top1_high", "top5", "top10", "map_low", "map_high"), np.nan)
            found = {"top1": 100 * shot.top1, "map": 100 * shot.map}
            lines.append(Line(setting, "single-shot", len(case.query), 0, **found, **gaps))
    differences = []
    if against is not None:
        other = Side(arrange(read_features(against), rows, against, known), joint_labels(rows))
        others = comparisons(rows, other, reader)
        differences = _differences({setting: others[setting] for setting in plain}, plain, rows)
    images = open_images(dataset / "images") if (dataset / "images").is_dir() else None
    leaks = find_leaks(manifest, None if images is None else images.encoded)
    same = same_features(values, rows)
    return Found(lines, differences, leaks + ([same] if same else []))


def render(found: Found) -> str:
    """For a terminal: a table of the scores, one of the differences, and the leaks."""
    table = pd.DataFrame(
        [
            {
                "setting": line.setting,
                "ranking": line.ranking,
                "queries": str(line.queries) + (f" ({line.unmatched} unmatched)" if line.unmatched else ""),
                "top-1": _with_interval(line.top1, line.top1_low, line.top1_high),
                "top-5": number(line.top5, gap="–"),
                "top-10": number(line.top10, gap="–"),
                "mAP": _with_interval(line.map, line.map_low, line.map_high),
            }
            for line in found.lines
        ]
    )
    blocks = [table.to_string(index=False), "In percent; in brackets 95 % intervals over other people."]
    if found.differences:
        shown = [
            {
                "setting": line.setting,
                "measure": line.measure,
                "difference": f"{signed(line.difference)} ({interval(line.low, line.high)})",
                "p, corrected": f"{equals(line.p)}, {equals(line.corrected)}",
            }
            for line in found.differences
        ]
        blocks += ["Against the other file, plain, in points:", pd.DataFrame(shown).to_string(index=False)]
    blocks += [f"leak ({leak.kind}): {leak.says}" for leak in found.leaks] or ["No leak was found."]
    return "\n\n".join(blocks)


def records(found: Found) -> dict:
    """The same as plain data for JSON: None where there is no number."""
    parts = {"scores": found.lines, "differences": found.differences, "leaks": found.leaks}
    return {
        name: [{key: None if is_gap(value) else value for key, value in asdict(line).items()} for line in lines]
        for name, lines in parts.items()
    }


def _has_answers(case: Comparison) -> bool:
    """Whether any query has a correct gallery image."""
    gallery = case.gallery.labels
    _, _, junk = own_images(case.query.labels, gallery, case.junk, by_subject(gallery))
    return not junk.all()


def _variants(path: Path, rows: pd.DataFrame, dimensions: int, known: set[str]) -> Variants:
    queries = rows["split"].isin(("query", "query_sc")).to_numpy()
    places, features, present = arrange_variants(read_features(path), rows[queries], path, known)
    if features.shape[2] != dimensions:
        raise ValueError(f"{path}: variants of {features.shape[2]} dimensions, the features have {dimensions}")
    return Variants(np.flatnonzero(queries)[places], np.nan_to_num(features), present)


def _line(case: Comparison, ranking: str, scores: Scores, rows: pd.DataFrame) -> Line:
    subjects = _subjects(case, scores, rows)
    top1, mean_ap = (mean_estimate(_values(scores, measure), subjects) for measure in ("top-1", "mAP"))
    tops = [100 * float(scores.cmc[min(rank, len(scores.cmc)) - 1]) for rank in RANKS]
    return Line(
        case.setting, ranking, scores.queries, scores.unmatched, tops[0], top1.low, top1.high, *tops[1:], mean_ap.mean,
        mean_ap.low, mean_ap.high,
    )  # fmt: skip


def _differences(others: Mapping[str, Comparison], plain: Mapping[str, Scores], rows: pd.DataFrame) -> list[Difference]:
    """The plain rankings against those of the other file, by setting."""
    found = []
    for setting, case in others.items():
        scores = evaluate_sides(case.query, case.gallery, case.junk)
        for measure in ("top-1", "mAP"):
            pair = (_values(one, measure) for one in (plain[setting], scores))
            found.append((setting, measure, paired_difference(*pair, _subjects(case, scores, rows))))
    corrected = holm([estimate.p_value for *_, estimate in found])
    return [
        Difference(setting, "plain", measure, estimate.mean, estimate.low, estimate.high, estimate.p_value, float(p))
        for (setting, measure, estimate), p in zip(found, corrected, strict=True)
    ]


def _values(scores: Scores, measure: str) -> np.ndarray:
    """Of each query that counts 100 or 0, whether its first image is correct, or its AP in percent."""
    return 100.0 * ((scores.per_query_rank == 1) if measure == "top-1" else scores.per_query_ap)


def _subjects(case: Comparison, scores: Scores, rows: pd.DataFrame) -> np.ndarray:
    return rows["subject"].to_numpy(dtype=object)[case.query_rows[scores.query_index]].astype(str)


def _with_interval(value: float, low: float, high: float) -> str:
    return number(value) + (f" ({interval(low, high)})" if not is_gap(low) else "")
