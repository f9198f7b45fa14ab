"""The profiles as DVC sees them: how many stages, which outputs `dvc push` leaves out, and one real push."""

import shutil
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from dvc.stage import Stage

from dlcr.params import Items, load_params

PROFILES = [
    "ccvid",
    "last",
    "ltcc",
    "minicc",
    "paper",
    "prcc",
    "prcc-klein",
    "prcc-models",
    "prcc-released",
    "prcc-sdxl",
    "vc-clothes",
]
FOLDERS = {
    "datasets": ["data/{}", "masks/{}"],
    "descriptions": ["descriptions/{}.parquet"],
    "outfits": ["outfits/{}.parquet"],
    "discriminators": ["discriminators/{}"],
    "generated": ["generated/{}"],
    "faces": ["faces/{}"],
    "runs": ["runs/{}"],
}
"""What the stages of public items write into DVC's cache; evaluations are in Git."""
PRIVATE = FOLDERS | {"evaluations": ["evaluations/private/{}", "evaluations/private/{}.json"]}


@pytest.fixture
def project(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC repository with this pipeline and nothing else yet; its remote is the folder `remote`."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(repository / "dvc.yaml", tmp_path)
    Repo.init(no_scm=True).close()
    with (tmp_path / ".dvc" / "config").open("a") as config:
        config.write("    remote = store\n['remote \"store\"']\n    url = ../remote\n")
    return tmp_path


def use(repository: Path, profile: str) -> Repo:
    """The repository in the current folder under a profile."""
    shutil.copy(repository / "profiles" / f"{profile}.yaml", "params.yaml")
    return Repo()


def outputs(items: Items, folders: dict[str, list[str]]) -> set[str]:
    """What the stages of these items write."""
    return {
        path.format(name) for section, paths in folders.items() for name in getattr(items, section) for path in paths
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_stages_and_what_is_never_pushed(repository: Path, project: Path, profile: str) -> None:
    """All cached outputs are those of the items; the private ones, and no others, are `push: false`."""
    with use(repository, profile) as repo:
        stages = repo.index.stages
    assert len(stages) <= 110  # a list that can still be read
    cached = {out.def_path: out.can_push for stage in stages for out in stage.outs if out.use_cache}
    params = load_params(project / "params.yaml")
    private = outputs(params.private, PRIVATE)
    assert set(cached) == outputs(params, FOLDERS) | private | {"reports/pictures"}
    kept = {path for path, pushed in cached.items() if not pushed}
    assert kept == private == {path for path in cached if "ltcc" in path}


def test_private_stages_do_what_public_ones_do(repository: Path, project: Path) -> None:
    """LTCC's stages are VC-Clothes's with the other name; the items that they depend on are those under `private`."""
    with use(repository, "paper") as repo:
        stages = {stage.addressing: described(stage) for stage in repo.index.stages}
    public = {name: texts for name, texts in stages.items() if "vc-clothes" in name and "-on-" not in name}
    assert len(public) == 10
    for name, texts in public.items():
        expected = {text.replace("vc-clothes", "ltcc") for text in texts}
        expected = {f"private.{text}" if text.split(".")[0] in PRIVATE else text for text in expected}
        expected = {text.replace("evaluations/", "evaluations/private/") for text in expected}
        assert stages[f"private-{name.replace('vc-clothes', 'ltcc')}"] == expected


def described(stage: Stage) -> set[str]:
    """Command, dependencies, parameters and outputs of a stage."""
    files = [edge.def_path for edge in (*stage.deps, *stage.outs)]
    return {stage.cmd, *files, *(key for dep in stage.deps for key in getattr(dep, "params", ()))}


def test_push_sends_public_outputs_only(repository: Path, project: Path) -> None:
    for path in ("dlcr/data/code.py", "stages/prepare.py", "datasets/prcc/1.jpg", "datasets/ltcc/1.png",
                 "data/prcc/images.arrow", "data/ltcc/images.arrow"):  # fmt: skip
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(f"content of {path}")
    (project / "containers").mkdir()
    (project / "containers" / "images.yaml").write_text("vision: none\n")
    with use(repository, "paper") as repo:
        repo.commit("prepare@prcc", force=True)
        repo.commit("private-prepare@ltcc", force=True)
        assert "private-prepare@ltcc" in (project / "dvc.lock").read_text()
        repo.push(run_cache=True)
    assert sent(project) == ["content of data/prcc/images.arrow"]
    # a profile with a public dataset of the same name, before it is prepared
    content = yaml.safe_load((repository / "profiles" / "prcc.yaml").read_text())
    content["datasets"]["ltcc"] = {"reader": "folder", "source": "datasets/ltcc"}
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    with Repo() as repo:
        repo.push(run_cache=True)
    assert sent(project) == ["content of data/prcc/images.arrow"]


def sent(project: Path) -> list[str]:
    """The files on the remote; the lists of folders, which DVC keeps as files of their own, left out."""
    files = (path for path in (project / "remote" / "files").rglob("*") if path.is_file())
    return sorted(path.read_text() for path in files if path.suffix != ".dir")
