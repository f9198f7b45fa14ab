"""Naming the hub's models by commits in params.yaml, whose branches and tags move: `dlcr models pin`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from huggingface_hub import HfApi
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dlcr.params import load_params, moving_revision, weight_names
from dlcr.runtime.files import write_text
from dlcr.runtime.weights import gated

ANSWER_SECONDS = 30  # that the hub is waited for


def pin_models(source: Path) -> tuple[list[str], list[str]]:
    """Replace branches and tags in a profile by the commits that they are at now, wherever that can be found out.

    Only these names change in the file: comments, layout and line ends stay. Returns two lists with a line for each
    model: what is now in the file, and what could not be pinned, with the reason and what to do. Raises as
    `load_params`.
    """
    moving = {name: moving_revision(name) for name in weight_names(load_params(source)).values()}
    moving = {name: place for name, place in moving.items() if place and not Path(name).exists()}
    commits, failed = find_commits(sorted(set(moving.values())))
    commit_of = {name: commits[place] for name, place in moving.items() if place in commits}
    names = {name: name.replace(f"@{moving[name][1]}", f"@{commit}", 1) for name, commit in commit_of.items()}
    text = source.read_bytes().decode("utf-8")
    pinned, replaced = replace_names(text, names)
    if replaced:
        write_text(source, pinned)
    done = sorted({"{}: {} is {}".format(*moving[name], commit_of[name]) for name in replaced})
    failed += [f"{name}: write {names[name]} by hand" for name in sorted(set(names) - replaced)]
    return done, failed


def find_commits(places: Iterable[tuple[str, str]]) -> tuple[dict[tuple[str, str], str], list[str]]:
    """The commits that revisions of repositories are at, and a line for each that the hub does not tell.

    A hub that does not answer is asked once.
    """
    commits, failed = {}, []
    places = list(places)
    for number, (repository, revision) in enumerate(places):
        try:
            info = HfApi().model_info(repository, revision=revision, timeout=ANSWER_SECONDS)
            commits[repository, revision] = info.sha
        except GatedRepoError:
            failed.append(f"{repository}: {gated(repository)}")
        except RepositoryNotFoundError:
            failed.append(f"{repository}: not there, or private; check the name, or log in: hf auth login")
        except RevisionNotFoundError:
            failed.append(f"{repository}: no branch or tag {revision!r}")
        except (HfHubHTTPError, ValueError) as error:
            failed.append(f"{repository}: {' '.join(str(error).split())}")
        except (HTTPError, OSError) as error:  # what the HTTP client raises before there is an answer
            left = ", ".join(name for name, _ in places[number:])
            reason = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, OfflineModeIsEnabled):
                reason = "unset HF_HUB_OFFLINE"
            return commits, [*failed, f"the hub {ENDPOINT} cannot be reached ({reason}); not pinned: {left}"]
    return commits, failed


def replace_names(text: str, names: Mapping[str, str]) -> tuple[str, set[str]]:
    """YAML in which every scalar that is a key of `names` is replaced, and which keys were found; all else stays."""
    found = set()
    for event in reversed([*yaml.parse(text, Loader=yaml.SafeLoader)]):
        if isinstance(event, yaml.ScalarEvent) and event.value in names:
            start, end = event.start_mark.index, event.end_mark.index
            written = text[start:end]  # with its quotes and its anchor
            if event.value in written:
                text = text[:start] + written.replace(event.value, names[event.value]) + text[end:]
                found.add(event.value)
    return text, found
