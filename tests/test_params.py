"""Profiles load; whatever is wrong in a params.yaml is one line that names the key."""

from pathlib import Path

import pytest
import yaml

from dlcr.params import load_params, lookup


@pytest.mark.parametrize("profile", ["minicc", "smoke", "prcc"])
def test_profiles_are_valid(repository: Path, profile: str) -> None:
    params = load_params(repository / "profiles" / f"{profile}.yaml")
    assert params.report.a1["1"] == "baseline"


def test_shipped_params_are_profile_minicc(repository: Path) -> None:
    assert (repository / "params.yaml").read_bytes() == (repository / "profiles" / "minicc.yaml").read_bytes()


def test_paper_values_of_profile_prcc(repository: Path) -> None:
    """Sec. 4 (implementation details) and the release's settings, PAPER and PEERS facts."""
    params = load_params(repository / "profiles" / "prcc.yaml")
    assert (params.k, params.inpaint.steps, params.inpaint.size, params.inpaint.guidance) == (
        10,
        50,
        (768, 256),
        7.5,
    )
    assert (params.queries["prcc"].variants, params.queries["prcc"].steps, params.refine.m) == (6, 10, 5)
    cal = params.train["cal"]
    assert (cal.identities * cal.images, cal.size) == (32, (384, 192))
    assert (cal.epochs, cal.milestones, cal.progressive_every) == (60, [20, 40], 5)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("k", "ten", "k: "),
        ("k", "10", "k: "),
        ("k", 0, "k: "),
        ("seeds", [], "seeds: "),
        ("parse.batchsize", 3, "parse.batchsize: unknown key"),
        ("runs.paired.mode", "pared", "runs.paired.mode: "),
        ("runs.paired.generated", "inpaintings", "runs.paired.generated: no generated named 'inpaintings'"),
        ("runs.paired.generated", "none", "runs.paired: mode none and generated none belong together"),
        ("evaluations.paired.run", "pair", "evaluations.paired.run: no runs named 'pair'"),
        ("outfits.minicc.dataset", "mini", "outfits.minicc.dataset: no datasets named 'mini'"),
        ("inpaint.size", [96, 0], "inpaint.size.1: "),
        ("report.a1.5", "fast", "report.a1.5: no evaluations named 'fast'"),
    ],
)
def test_a_wrong_key_is_one_line_that_names_it(
    repository: Path, tmp_path: Path, path: str, value: object, expected: str
) -> None:
    content = yaml.safe_load((repository / "profiles" / "minicc.yaml").read_text())
    *parents, last = path.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    section[last] = value
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"params\.yaml: ") as error:
        load_params(file)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_key_missing_file_and_no_yaml(repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    with pytest.raises(FileNotFoundError, match=r"params\.yaml: no such file"):
        load_params(file)
    file.write_text("k: [1\n")
    with pytest.raises(ValueError, match="not YAML"):
        load_params(file)
    file.write_text("- k\n")
    with pytest.raises(ValueError, match="expected a mapping"):
        load_params(file)
    content = yaml.safe_load((repository / "profiles" / "minicc.yaml").read_text())
    del content["train"]["cal-mini"]["epochs"]
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"train\.cal-mini\.epochs: missing key"):
        load_params(file)


def test_lookup_lists_what_there_is(repository: Path) -> None:
    params = load_params(repository / "params.yaml")
    assert lookup(params.runs, "runs", "paired").mode == "paired"
    with pytest.raises(ValueError, match="runs has no 'pair'; it has baseline, concat"):
        lookup(params.runs, "runs", "pair")
