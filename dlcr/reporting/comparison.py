"""Two sets of evaluations of the same profile, row by row: does a run repeat another's numbers?

    with opened(".") as here, opened("HEAD") as there:
        found = compare(here, there)
    print(render(found))
    exit_code(found)

A side is a folder, a git revision or the name of an experiment of DVC; of the latter two evaluations/, params.yaml and
dvc.lock are read. A row is an evaluation and one of its rankings. What lies in a folder counts only where its models
are there too: else it came with the repository, and nothing was repeated.
"""

import io
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pandas as pd

from dlcr.evaluation.runs import KINDS
from dlcr.evaluation.statistics import Estimate, holm
from dlcr.params import load_params
from dlcr.reporting.cells import TITLES
from dlcr.reporting.claims import ALPHA
from dlcr.reporting.formats import interval, is_gap, markdown, number, signed
from dlcr.reporting.lineage import read_lock
from dlcr.reporting.measured import MEASURES
from dlcr.reporting.results import Result, came_with_repository, estimate, load_results, query_scores, same_queries

DIFFERS = 3
"""Exit code where a row differs, apart from those of bad input (1) and of a wrong command line (2)."""
READ = ("evaluations", "params.yaml", "dvc.lock")
Verdict = Literal["same", "agrees", "differs", "other queries", "other seeds", "not run", "not run there"]


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a folder with evaluations/ and what says which there are. snapshot: of git, which holds
    no models, so that everything in it counts."""

    folder: Path
    snapshot: bool


@dataclass(frozen=True)
class Row:
    """An evaluation's ranking on both sides, in percent, NaN where there is none.

    here, there: by measure, over the seeds that both sides have, as are differences, by measure those of here - there.
    verdict: `same` where every query has the same scores; `differs` where a difference is beyond chance, of people,
    seeds and so many rows (Holm, 5 %); else `agrees`. With other queries or seeds there are no differences.
    """

    evaluation: str
    kind: str
    here: dict[str, float]
    there: dict[str, float]
    differences: dict[str, Estimate]
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Rows, and the stages of DVC by what became of their outputs: same bytes, other bytes, not run."""

    rows: list[Row]
    stages: dict[str, list[str]]


@contextmanager
def opened(name: str, root: Path = Path()) -> Iterator[Side]:
    """A side by its name: a folder, or a git revision or an experiment of the repository in `root`.

    Raises ValueError for what is none of these, or holds no evaluations.
    """
    folder = root / name
    if folder.is_dir():
        if not (folder / "evaluations").is_dir():
            raise ValueError(f"{name}: this folder has no evaluations/")
        yield Side(folder, False)
        return
    commit = _commit(root, name)
    if commit is None:
        raise ValueError(f"{name}: neither a folder nor a git revision nor an experiment of DVC")
    listed = _git(root, "ls-tree", "--name-only", commit, *READ).decode().split()
    if "evaluations" not in listed:
        raise ValueError(f"{name}: this revision has no evaluations/")
    packed = _git(root, "archive", commit, *listed)
    with TemporaryDirectory() as unpacked, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(unpacked, filter="data")
        yield Side(Path(unpacked), True)


def compare(here: Side, there: Side) -> Comparison:
    """Every ranking that one of the sides has, in the order of the first one's params.yaml, and DVC's stages.

    Raises ValueError where a side's params.yaml or evaluations are damaged.
    """
    sides = [load_results(side.folder, load_params(side.folder / "params.yaml")) for side in (here, there)]
    counted = [_counted(results) for results in sides]
    rows = []
    for place in dict.fromkeys([*counted[0], *counted[1]]):
        a, b = (found.get(place) for found in counted)
        rows += [_row(place, kind, a, b) for kind in _kinds(a, b)]
    return Comparison(_judged(rows), _stages(here, there))


def render(found: Comparison) -> str:
    """The comparison as text for a terminal: rows that were run on both sides, then counts."""
    return _table(found).to_string(index=False) + "\n\n" + "\n".join(_counts(found)) + "\n"


def table(found: Comparison) -> str:
    """The same as Markdown."""
    return markdown(_table(found), _counts(found)).decode()


def exit_code(found: Comparison) -> int:
    """DIFFERS if a row does, else 0."""
    return DIFFERS if any(row.verdict == "differs" for row in found.rows) else 0


def records(found: Sequence[Row]) -> list[dict]:
    """Rows as plain data for JSON: None where there is no number."""
    return [
        {
            "evaluation": row.evaluation,
            "kind": row.kind,
            "verdict": row.verdict,
            **{
                measure: {
                    "here": _plain(row.here[measure]),
                    "there": _plain(row.there[measure]),
                    "difference": _numbers(row.differences[measure]) if row.differences else None,
                }
                for measure in MEASURES
            },
        }
        for row in found
    ]


def _numbers(found: Estimate) -> dict[str, float | None]:
    return {name: _plain(getattr(found, name)) for name in ("mean", "low", "high", "p_value")}


def _plain(value: float) -> float | None:
    return None if is_gap(value) else value


def _counted(results: dict[str, Result | None]) -> dict[str, Result]:
    """The evaluations that were run on a side; all of one without any models, as a snapshot is."""
    left_out = came_with_repository(results)
    return {place: result for place, result in results.items() if result is not None and place not in left_out}


def _kinds(*results: Result | None) -> list[str]:
    found = {kind for result in results if result for kind in result.queries["kind"].unique()}
    return [kind for kind in KINDS if kind in found]


def _row(place: str, kind: str, a: Result | None, b: Result | None) -> Row:
    here, there = (_scores(result, kind) for result in (a, b))
    if not (here and there):
        verdict: Verdict = "not run there" if a is not None else "not run"
        return Row(place, kind, _means(here), _means(there), {}, verdict)
    if not here[MEASURES[0]].index.equals(there[MEASURES[0]].index):
        return Row(place, kind, _means(here), _means(there), {}, "other queries")
    shared = {measure: same_queries(here[measure], there[measure]) for measure in MEASURES}
    if shared[MEASURES[0]][0].columns.empty:
        return Row(place, kind, _means(here), _means(there), {}, "other seeds")
    differences = {measure: estimate(a - b) for measure, (a, b) in shared.items()}
    same = all(a.equals(b) for a, b in shared.values())
    means = (_means({measure: tables[side] for measure, tables in shared.items()}) for side in (0, 1))
    return Row(place, kind, *means, differences, "same" if same else "agrees")


def _means(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """By measure, NaN where there is none."""
    return {
        measure: float(tables[measure].to_numpy().mean()) if measure in tables else float("nan") for measure in MEASURES
    }


def _judged(rows: list[Row]) -> list[Row]:
    """The rows with their last verdict: chance has as many tries as there are differences."""
    tests = [(place, found.p_value) for place, row in enumerate(rows) for found in row.differences.values()]
    apart = {place for (place, _), p in zip(tests, holm([p for _, p in tests]), strict=True) if p < ALPHA}
    return [replace(row, verdict="differs") if place in apart else row for place, row in enumerate(rows)]


def _scores(result: Result | None, kind: str) -> dict[str, pd.DataFrame]:
    """`query_scores` by measure; {} where there are none of this kind."""
    if result is None or result.outcomes(kind).empty:
        return {}
    return {measure: query_scores(result, kind, measure) for measure in MEASURES}


def _stages(here: Side, there: Side) -> dict[str, list[str]]:
    """DVC's stages by what became of their outputs: those that both sides have in dvc.lock."""
    locks = [read_lock(side.folder / "dvc.lock") for side in (here, there)]
    found: dict[str, list[str]] = {"same bytes": [], "other bytes": [], "not run": []}
    for name, stage in locks[0].items():
        outs = [(out["path"], out.get("md5")) for out in stage.get("outs", [])]
        models = [dep["path"] for dep in stage.get("deps", []) if dep["path"].startswith("runs/")]
        made = models if name.removeprefix("private-").startswith("refine-eval@") else [path for path, _ in outs]
        if name not in locks[1] or not (here.snapshot or all((here.folder / path).exists() for path in made)):
            found["not run"].append(name)
            continue
        same = outs == [(out["path"], out.get("md5")) for out in locks[1][name].get("outs", [])]
        found["same bytes" if same else "other bytes"].append(name)
    return found


def _table(found: Comparison) -> pd.DataFrame:
    rows = []
    for row in found.rows:
        if not row.differences:
            continue
        shown = {"Evaluation": row.evaluation, "Ranking": row.kind}
        for measure, title in TITLES.items():
            apart = row.differences[measure]
            shown[f"{title} here"] = number(row.here[measure])
            shown[f"{title} there"] = number(row.there[measure])
            shown[f"Difference in {title} (95 %)"] = f"{signed(apart.mean)} ({interval(apart.low, apart.high)})"
        rows.append(shown | {"Verdict": row.verdict})
    return pd.DataFrame(rows, columns=None if rows else ["Evaluation", "Ranking", "Verdict"])


def _counts(found: Comparison) -> list[str]:
    verdicts = Counter(row.verdict for row in found.rows)
    rankings = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in Verdict.__args__ if verdicts[verdict])
    stages = ", ".join(f"{len(names)} {state}" for state, names in found.stages.items() if names)
    other = found.stages["other bytes"]
    return [
        f"Rankings: {rankings or 'none'}. Over the training seeds that both sides have; intervals are "
        "about other people and other seeds.",
        f"Stages: {stages or 'none'}." + (f" Other bytes: {', '.join(other)}." if other else ""),
    ]


def _commit(root: Path, name: str) -> str | None:
    """The commit of a revision or an experiment, None if there is none."""
    experiments = _git(root, "for-each-ref", "--format=%(refname)", "refs/exps", check=False).decode().split()
    for reference in (name, *(ref for ref in experiments if ref.rpartition("/")[2] == name)):
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
        if found := _git(root, *words, check=False).decode().strip():
            return found
    return None


def _git(root: Path, *words: str, check: bool = True) -> bytes:
    try:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, check=check).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode(errors="replace").strip() or str(error)
        raise ValueError(f"git {words[0]}: {said.splitlines()[0]}") from error
