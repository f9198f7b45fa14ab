"""`dlcr models pin`: what can be pinned is, the rest is named, and nothing else of the file changes."""

import re
from hashlib import sha1
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import Result
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from typer.testing import CliRunner

from dlcr.cli import app
from dlcr.params import load_params, moving_revision, weight_names
from dlcr.pins import replace_names

LLAVA = "llava-hf/llava-1.5-7b-hf"
ANSWER = SimpleNamespace(headers={}, request=None)


def commit(name: str) -> str:
    return sha1(name.encode()).hexdigest()


class Hub:
    """A hub whose branches and tags are at commits of their names, and that refuses some."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refused: dict[str, Exception] = {}

    def model_info(self, repository: str, revision: str, timeout: float) -> SimpleNamespace:
        self.asked.append(f"{repository}@{revision}")
        if repository in self.refused:
            raise self.refused[repository]
        return SimpleNamespace(sha=commit(f"{repository}@{revision}"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr("dlcr.pins.HfApi", lambda: hub)
    monkeypatch.chdir(tmp_path)
    return hub


def pin() -> Result:
    return CliRunner().invoke(app, ["models", "pin"])


@pytest.fixture
def prcc(repository: Path, hub: Hub) -> str:
    text = (repository / "profiles" / "prcc-models.yaml").read_text()
    Path("params.yaml").write_text(text)
    return text


def test_every_model_is_pinned_wherever_it_is_named(hub: Hub, prcc: str) -> None:
    """Nothing else of the file changes, and a second time nothing."""
    result = pin()
    assert result.exit_code == 0, result.output
    assert sorted(hub.asked) == sorted(set(re.findall(r"[\w.-]+/[\w.-]+@[\w.-]+", prcc)))
    after = Path("params.yaml").read_text()
    assert re.sub(r"@[0-9a-f]{40}", "@main", after) == prcc
    assert after.count("@main") == 0
    assert f"timm/resnet50.tv_in1k: main is {commit('timm/resnet50.tv_in1k@main')}" in result.stdout
    hub.asked.clear()
    assert pin().output == "no model is named by a branch or tag\n"
    assert hub.asked == []
    assert Path("params.yaml").read_text() == after


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            GatedRepoError("x", response=ANSWER),
            r"gated; accept its licence on https?://.*/{}, then log in: hf auth login",
        ),
        (
            RepositoryNotFoundError("x", response=ANSWER),
            "not there, or private; check the name, or log in: hf auth login",
        ),
        (RevisionNotFoundError("x", response=ANSWER), "no branch or tag 'main'"),
        (HfHubHTTPError("500\n\noops", response=ANSWER), "500 oops"),
    ],
)
def test_one_that_cannot_be_pinned_is_named_and_the_others_are_written(
    hub: Hub, prcc: str, error: Exception, message: str
) -> None:
    hub.refused[LLAVA] = error
    result = pin()
    assert result.exit_code == 1
    assert re.fullmatch(f"error: {re.escape(LLAVA)}: {message.format(LLAVA)}", result.stderr.strip())
    after = Path("params.yaml").read_text()
    left = {moving_revision(name) for name in weight_names(load_params()).values()} - {None}
    assert left == {(LLAVA, "main")}
    printed = dict(line.split(": main is ") for line in result.stdout.splitlines())
    assert {*printed, LLAVA} == {name.partition("@")[0] for name in hub.asked}
    for repository, sha in printed.items():
        assert f"{repository}@{sha}" in after


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OfflineModeIsEnabled("offline mode is enabled, to disable it ..."), "unset HF_HUB_OFFLINE"),
        (HTTPError("[Errno -2] Name or service not known"), r"\[Errno -2\] Name or service not known"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_hub_out_of_reach_is_one_line(hub: Hub, prcc: str, error: Exception, reason: str) -> None:
    """What it told before is written."""
    hub.refused |= dict.fromkeys((LLAVA, "meta-llama/Llama-2-7b-chat-hf"), error)
    result = pin()
    assert result.exit_code == 1
    assert re.fullmatch(
        rf"error: the hub \S+ cannot be reached \({reason}\); not pinned: {LLAVA}, .*meta-llama\S+, .*\n", result.stderr
    )
    assert hub.asked[-1] == f"{LLAVA}@main"
    assert result.stdout.count(" is ") == len(hub.asked) - 1 > 0
    hub.refused = dict.fromkeys([name.partition("@")[0] for name in hub.asked], error)
    Path("params.yaml").write_text(prcc)
    assert pin().stdout == "nothing was pinned\n"
    assert Path("params.yaml").read_text() == prcc


def test_what_is_not_of_the_hub_stays(hub: Hub, repository: Path) -> None:
    """A folder that is named like a model of the hub, a model pack; a file of a repository keeps its path."""
    content = yaml.safe_load((repository / "profiles" / "prcc-models.yaml").read_text())
    content["models"] |= {
        "parser": "owner/schp@v1:onnx/parsing_lip.onnx",
        "summarizer": "models/mini@here",
        "faces": "insightface:buffalo_l",
    }
    Path("models/mini@here").mkdir(parents=True)
    Path("params.yaml").write_text(yaml.safe_dump(content))
    assert pin().exit_code == 0
    models = load_params().models
    assert models.parser == f"owner/schp@{commit('owner/schp@v1')}:onnx/parsing_lip.onnx"
    assert (models.summarizer, models.faces) == ("models/mini@here", "insightface:buffalo_l")


def test_names_are_replaced_as_wholes_and_the_rest_stays() -> None:
    text = (
        "# a/b@main was better, \N{LATIN SMALL LETTER E WITH ACUTE}\r\n"
        "one: a/b@main   # not a/b@main-2\r\n"
        "two: {x: a/b@main-2, y: [\"a/b@main\", 'x-a/b@main', a/b@main.1]}\r\n"
        "base: &base a/b@main\r\n"
        "again: *base\r\n"
        'escaped: "c\\x2Fd@main"\r\n'
    )
    replaced, found = replace_names(text, {"a/b@main": "a/b@" + "0" * 40, "c/d@main": "c/d@1"})
    assert found == {"a/b@main"}
    expected = (
        text.replace("one: a/b@main ", "one: a/b@" + "0" * 40 + " ")
        .replace('"a/b@main"', f'"a/b@{"0" * 40}"')
        .replace("&base a/b@main", "&base a/b@" + "0" * 40)
    )
    assert replaced == expected


def test_a_name_that_cannot_be_replaced_is_not_called_pinned(hub: Hub, prcc: str) -> None:
    text = prcc.replace(f"{LLAVA}@main", f'"{LLAVA}\\x40main"')
    Path("params.yaml").write_text(text)
    result = pin()
    assert result.exit_code == 1
    assert result.stderr == f"error: {LLAVA}@main: write {LLAVA}@{commit(f'{LLAVA}@main')} by hand\n"
    assert LLAVA not in result.stdout
