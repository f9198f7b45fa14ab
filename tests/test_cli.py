"""`dlcr import-released`, `models pin`, `targets` and `claims` as a user types them; the profiles' commands are tested
with the README."""

import json
import re
from hashlib import sha1
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from strips import pack_prcc, train_rows, write_strips
from typer.testing import CliRunner

from dlcr.cli import app
from dlcr.data import open_generated
from dlcr.reporting import claims


def test_targets_of_a_table(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for profile, expected in (
        ("smoke", ["baseline", "oracle", "paired", "progressive"]),
        ("ltcc", ["ltcc-baseline", "ltcc-progressive"]),
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "params.yaml").write_bytes((repository / "profiles" / f"{profile}.yaml").read_bytes())
        printed = CliRunner().invoke(app, ["targets", "a1"]).output.split()
        kind = "private-refine-eval" if profile == "ltcc" else "refine-eval"
        assert printed == [f"{kind}@{name}" for name in expected]
    error = CliRunner().invoke(app, ["targets", "a9"]).exception
    assert "no table 'a9' in params.yaml's report; it has t2, t3, t4, a1, a3, a4, a5, a8, ccfa, guidance" in str(error)


def test_targets_of_ablations_are_their_one_stage(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((repository / "profiles/minicc.yaml").read_bytes())
    printed = CliRunner().invoke(app, ["targets", "ccfa"]).output.split()
    assert printed == [f"refine-eval@{name}" for name in ("baseline", "ccfa")]


def test_claims_say_their_verdict_by_the_exit_code(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((repository / "profiles/minicc.yaml").read_bytes())
    nothing_run = CliRunner().invoke(app, ["claims"])
    assert nothing_run.exit_code == 0
    assert nothing_run.output.count("NOT RUN") >= 15
    assert CliRunner().invoke(app, ["claims", "--strict"]).exit_code == 4
    found = json.loads(CliRunner().invoke(app, ["claims", "--json"]).output)
    assert {claim["outcome"] for claim in found} == {"not run"}
    wrong = claims.Claim("x", "It helps.", "+1", "contradicted", -5.0, -8.0, -2.0, 0.001, "points", "paired", "", [])
    monkeypatch.setattr(claims, "claims", lambda *arguments: [wrong])
    contradicted = CliRunner().invoke(app, ["claims"])
    assert contradicted.exit_code == 3
    assert "CONTRADICTED" in contradicted.output


class Hub:
    """A hub whose branches and tags are at commits of their names."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def model_info(self, repository: str, revision: str) -> SimpleNamespace:
        self.asked.append(f"{repository}@{revision}")
        if repository == "owner/gone":
            raise OSError(f"{repository}: no such repository")
        return SimpleNamespace(sha=sha1(f"{repository}@{revision}".encode()).hexdigest())


def test_models_are_pinned(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model of the hub, wherever it is named; nothing else of the file changes, and a second time nothing."""
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    monkeypatch.chdir(tmp_path)
    before = (repository / "profiles" / "prcc-models.yaml").read_text()
    Path("params.yaml").write_text(before)
    printed = CliRunner().invoke(app, ["models", "pin"])
    assert printed.exit_code == 0, printed.output
    assert sorted(hub.asked) == sorted(set(re.findall(r"[\w.-]+/[\w.-]+@[\w.-]+", before)))
    after = Path("params.yaml").read_text()
    assert re.sub(r"@[0-9a-f]{40}", "@main", after) == before
    assert after.count("@main") == 0
    commit = sha1(b"timm/resnet50.tv_in1k@main").hexdigest()
    assert f"timm/resnet50.tv_in1k: main is {commit}" in printed.output
    hub.asked.clear()
    assert CliRunner().invoke(app, ["models", "pin"]).exit_code == 0
    assert hub.asked == []
    assert Path("params.yaml").read_text() == after


def test_a_model_that_cannot_be_pinned_changes_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.chdir(tmp_path)
    text = (repository / "profiles" / "prcc.yaml").read_text().replace("llava-hf/llava-1.5-7b-hf@main", "owner/gone@v1")
    Path("params.yaml").write_text(text)
    assert "owner/gone" in str(CliRunner().invoke(app, ["models", "pin"]).exception)
    assert Path("params.yaml").read_text() == text


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_strips(pack_prcc(tmp_path), tmp_path / "release")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["import-released", *arguments])


def test_the_set_and_what_comes_next(workplace: Path) -> None:
    result = run("release", "--dataset", "prcc")
    assert result.exit_code == 0, result.output
    assert "generated/prcc-released: 3 variants of 5 images; 3 files made, 0 kept" in result.output
    for step in ("`prcc-released: {dataset: prcc}`", "`generated: prcc-released`", "dvc add generated/prcc-released"):
        assert step in result.output
    assert open_generated("generated/prcc-released").variants == 3


def test_another_name_and_missing_images(workplace: Path) -> None:
    (workplace / "release" / train_rows(Path("data/prcc"))["image_id"].iloc[0]).with_suffix(".png").unlink()
    assert "--allow-missing would skip" in str(run("release", "--dataset", "prcc", "--name", "theirs").exception)
    result = run("release", "--dataset", "prcc", "--name", "theirs", "--allow-missing")
    assert "1 images are not in the release: skipped" in result.output
    assert [path.name for path in Path("generated").iterdir()] == ["theirs"]


@pytest.mark.parametrize("name", ["none", "../prcc", "", "Mine", ".hidden"])
def test_names_that_cannot_be_a_set(workplace: Path, name: str) -> None:
    assert "cannot name a dataset or set" in str(run("release", "--dataset", "prcc", "--name", name).exception)
    assert not Path("generated").exists()


def test_unknown_dataset(workplace: Path) -> None:
    assert "data/last: not packed yet; run `dvc repro prepare@last` first" in str(
        run("release", "--dataset", "last").exception
    )
