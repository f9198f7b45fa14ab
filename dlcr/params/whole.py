"""The whole of params.yaml, and what is asked of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from dlcr.params.items import REFERENCES, Evaluation, Items
from dlcr.params.sections import (
    Describe,
    Discriminate,
    FindFaces,
    Geff,
    Inpaint,
    MiniCC,
    Models,
    Name,
    Parse,
    Positive,
    Quality,
    Recipe,
    Refine,
    Report,
    Section,
    Seed,
    Seeds,
    Summarize,
)


class Params(Items):
    """The whole of params.yaml.

    `defaults`: what YAML's `<<` puts into items, as DVC's templates have no defaults; nothing else reads it.
    `private` lists items whose outputs are `push: false` in DVC: datasets that may not be redistributed, and all that
    is made from them. `load_params` puts them into the other sections too.
    """

    defaults: dict[str, dict[str, Any]] = Field(default={})
    private: Items
    k: Positive
    seed: Seed
    seeds: Seeds
    models: Models
    minicc: MiniCC
    parse: Parse
    describe: Describe
    summarize: Summarize
    inpaint: Inpaint
    discriminate: Discriminate
    quality: Quality
    recipes: dict[Name, Recipe]
    find_faces: FindFaces
    refine: Refine
    geff: Geff
    report: Report

    def evaluation(self, place: str) -> Evaluation:
        """The evaluation at a place, NAME or NAME/ABLATION."""
        return self.evaluations[place.partition("/")[0]]

    def is_private(self, section: str, name: str) -> bool:
        """Whether an item may not be passed on: it, or something that it is made from, is in `private`.

        `name` as other items write it: an imported set as one of `generated`, an evaluation also with its ablation.
        """
        waiting, seen = [(section, name)], set()
        while waiting:
            section, name = waiting.pop()
            name = name.partition("/")[0]
            section = "imported" if section == "generated" and name in self.imported else section
            if (section, name) in seen or section not in Items.model_fields:
                continue
            if name in getattr(self.private, section):
                return True
            seen.add((section, name))
            item = getattr(self, section).get(name)
            waiting += [(target, getattr(item, field)) for field, target in REFERENCES.get(section, {}).items() if item]
        return False


def file_content(params: Params) -> dict[str, Any]:
    """The parameters as params.yaml holds them: every item in one place, defaults written out."""
    return params.model_dump(
        mode="json", exclude={"defaults": True} | {key: set(names) for key, names in params.private}
    )


def evaluation_places(params: Params, items: dict[str, dict[str, Section]] | None = None) -> dict[str, Evaluation]:
    """The evaluations by their places, NAME, or one NAME/ABLATION for each ablation of the run."""
    items = items or {"evaluations": params.evaluations, "runs": params.runs}
    found = {}
    for name, item in items["evaluations"].items():
        run = items["runs"].get(item.run)
        recipe = params.recipes.get(run.recipe) if run else None
        ablations = recipe.ablations if recipe else {}
        found |= {f"{name}/{ablation}": item for ablation in ablations} or {name: item}
    return found


def evaluation_folder(params: Params, place: str) -> Path:
    """The folder of an evaluation's files, relative to the repository; that of a private one is not in Git."""
    hidden = ["private"] if place.partition("/")[0] in params.private.evaluations else []
    return Path("evaluations", *hidden, place)


def training_modes(params: Params, places: Iterable[str]) -> list[str]:
    """The modes of the runs behind these evaluations, sorted; `none`, training without generated data, left out."""
    modes = {params.runs[params.evaluation(place).run].mode for place in places}
    return sorted(modes - {"none"})


ADAPTER = "garment.adapter"
"""The end of the keys of `weight_names` that name IP-Adapters."""


def weight_names(params: Params) -> dict[str, str]:
    """Every model that the profile's stages load, by the key that names it in params.yaml."""
    models = params.models
    named = {"models.parser": models.parser, "models.summarizer": models.summarizer}
    named |= {f"models.describers.{key}": name for key, name in models.describers.items()}
    named |= {"models.inpainter": models.inpainter} | ({"models.faces": models.faces} if params.faces else {})
    added = {"inpaint.lora": params.inpaint.lora, "inpaint.prior": params.inpaint.prior}
    added |= {f"generated.{name}.{ADAPTER}": item.garment.adapter for name, item in params.generated.items()}
    named |= {key: name for key, name in added.items() if name}
    for recipe in sorted({run.recipe for run in params.runs.values()}):
        weights = params.recipes[recipe].settings.get("weights")
        named |= {f"recipes.{recipe}.settings.weights": weights} if weights else {}
    return named


def moving_revision(name: str) -> tuple[str, str] | None:
    """Repository and revision of a hub's model that is named by a branch or tag; None for commits and local models."""
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)@(?![0-9a-f]{40}(?:$|:))([^@:]+)(?::.+)?", name)
    return (found[1], found[2]) if found else None


def lookup(section: dict[str, Section], kind: str, name: str) -> Section:
    """`section[name]`, or one ValueError that lists the names there are. `kind` is the section's key."""
    if name not in section:
        raise ValueError(f"params.yaml: {kind} has no {name!r}; it has {', '.join(sorted(section)) or 'none'}")
    return section[name]
