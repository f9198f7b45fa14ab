"""Profiles load; whatever is wrong in a params.yaml is one line that names the key."""

from pathlib import Path

import pytest
import yaml
from clones import export

from dlcr.params import Items, file_content, load_params, lookup, training_modes
from dlcr.runtime.registry import find_entry

DATASETS = ["ccvid", "last", "ltcc", "prcc", "vc-clothes"]
PROFILES = ["minicc", "smoke", "paper", "prcc-models", "prcc-released", "prcc-sdxl", "prcc-klein", *DATASETS]


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_are_valid(repository: Path, profile: str) -> None:
    params = load_params(repository / "profiles" / f"{profile}.yaml")
    baseline = params.runs[params.evaluation(params.report.evaluation("a1/1")).run]
    assert (baseline.dataset, baseline.mode) == (params.report.dataset, "none")


def test_every_profile_is_tested(repository: Path, tmp_path: Path) -> None:
    profiles = {path.stem for path in (export(repository, tmp_path, "profiles") / "profiles").iterdir()}
    assert profiles == set(PROFILES)


def test_shipped_params_are_profile_minicc(repository: Path, tmp_path: Path) -> None:
    shipped = export(repository, tmp_path, "params.yaml", "profiles/minicc.yaml")
    assert (shipped / "params.yaml").read_bytes() == (shipped / "profiles" / "minicc.yaml").read_bytes()


def test_paper_values_of_profile_prcc(repository: Path) -> None:
    """Sec. 4 (implementation details), and what the releases of the paper and of CAL set."""
    params = load_params(repository / "profiles" / "prcc.yaml")
    assert (params.k, params.inpaint.steps, params.inpaint.size, params.inpaint.guidance) == (
        10,
        50,
        (768, 256),
        7.5,
    )
    assert (params.generated["queries-prcc"].k, params.generated["queries-prcc"].steps, params.refine.m) == (6, 10, 5)
    cal = params.recipes["cal"]
    assert (cal.identities * cal.images, cal.size) == (32, (384, 192))
    assert (cal.epochs, cal.milestones, cal.progressive_every) == (60, [20, 40], 5)


def test_training_recipes_of_cal(repository: Path) -> None:
    """Simple-CCReID's epochs, milestones, identities x images, size, and the settings that differ between datasets."""
    recipes = {}
    for dataset in DATASETS:
        params = load_params(repository / "profiles" / f"{dataset}.yaml")
        name = {"ccvid": "c2d", "last": "cal-last"}.get(dataset, "cal")
        entry = params.recipes[name]
        assert (entry.model or name) == ("c2d" if dataset == "ccvid" else "cal")
        assert (entry.learning_rate, entry.weight_decay) == (3.5e-4, 5e-4)
        settings = [entry.settings.get(key) for key in ("smoothing", "clothes_from_epoch", "triplet_weight")]
        recipes[dataset] = (entry.epochs, entry.milestones, entry.identities, entry.images, entry.size, settings)
    assert recipes["prcc"] == recipes["ltcc"] == recipes["vc-clothes"]
    assert recipes["prcc"] == (60, [20, 40], 4, 8, (384, 192), [0.1, 25, None])
    assert recipes["last"] == (60, [20, 40], 16, 4, (384, 192), [0.1, 25, 1.0])
    assert recipes["ccvid"] == (150, [40, 80, 120], 8, 4, (256, 128), [0.0, 50, None])


@pytest.mark.parametrize("profile", PROFILES)
def test_stage_1_is_the_data_and_stage_2_progressive_learning(repository: Path, profile: str) -> None:
    """Table 3 (Sec. 10): a model without generated data, with it, and with progressive learning and refinement."""
    params = load_params(repository / "profiles" / f"{profile}.yaml")
    for model in {key.split("/")[0] for key in params.report.tables.get("t3", {})}:
        if (profile, model) == ("smoke", "GEFF"):
            continue  # one evaluation stands for all three
        rows = [params.report.row(f"t3/{model}/{stage}") for stage in ("baseline", "stage 1", "stage 1 + 2")]
        assert [row.kind for row in rows] == ["plain", "plain", "refined"]
        found = [params.evaluation(row.evaluation) for row in rows]
        runs = [params.runs[item.run] for item in found]
        assert [run.mode for run in runs] == ["none", "paired", "progressive"], model
        assert {(item.dataset, item.faces) for item in found} == {(params.report.dataset, found[0].faces)}
        assert runs[1].generated == runs[2].generated == params.report.samples
        assert len({params.recipes[run.recipe].model or run.recipe for run in runs}) == 1
        assert found[2].queries != "none"


@pytest.mark.parametrize("profile", PROFILES)
def test_no_profile_refines_table_4(repository: Path, profile: str) -> None:
    """The paper names no refinement there."""
    params = load_params(repository / "profiles" / f"{profile}.yaml")
    assert {row.kind for row in params.report.tables.get("t4", {}).values()} <= {"plain"}


@pytest.mark.parametrize("profile", PROFILES)
def test_discriminators_learn_from_all_ten_and_geff_adds_images(repository: Path, profile: str) -> None:
    params = load_params(repository / "profiles" / f"{profile}.yaml")
    assert params.discriminate.variants == params.k
    assert params.geff.attach == "image"


def test_every_model_of_tables_3_has_the_papers_size_and_batch(repository: Path) -> None:
    """Sec. 4: 384x192, and batches of 32, which pairs make 64."""
    params = load_params(repository / "profiles" / "prcc-models.yaml")
    recipes = [params.recipes[run.recipe] for run in params.runs.values()]
    assert len(params.report.tables["t3"]) == 3 * 7
    assert {(recipe.size, recipe.identities, recipe.images) for recipe in recipes} == {((384, 192), 4, 8)}


@pytest.mark.parametrize(
    ("profile", "runs"),
    [("prcc-models", {"baseline", "paired", "progressive"}), ("prcc-released", {"baseline"})],
)
def test_profiles_of_prcc_share_their_items(repository: Path, profile: str, runs: set[str]) -> None:
    """Word for word, so that what was made under one is not made again under the other."""
    prcc, models = (
        yaml.safe_load((repository / "profiles" / f"{name}.yaml").read_text()) for name in ("prcc", profile)
    )
    for section in ("recipes", *Items.model_fields):
        for name in prcc[section].keys() & models[section].keys():
            assert prcc[section][name] == models[section][name], (section, name)
    assert runs <= prcc["runs"].keys() & models["runs"].keys()
    parts = {"defaults", "private", "report", "recipes", *Items.model_fields}
    assert {key: prcc[key] for key in prcc.keys() - parts} == {key: models[key] for key in models.keys() - parts}


@pytest.mark.parametrize("family", ["sdxl", "klein"])
def test_a_profile_of_another_inpainter_differs_in_how_it_paints(repository: Path, family: str) -> None:
    """What it shares with prcc stands there word for word; sets, runs and evaluations of its own have other names."""
    prcc, other = (
        yaml.safe_load((repository / "profiles" / f"{name}.yaml").read_text()) for name in ("prcc", f"prcc-{family}")
    )
    for section in ("recipes", *Items.model_fields):
        for name in prcc[section].keys() & other[section].keys():
            assert prcc[section][name] == other[section][name], (section, name)
    for section in ("generated", "evaluations"):
        assert not prcc[section].keys() & other[section].keys()
    assert prcc["runs"].keys() & other["runs"].keys() == {"baseline"}
    parts = {"defaults", "private", "report", "inpaint", "models", *Items.model_fields}
    assert {key: prcc[key] for key in prcc.keys() - parts} == {key: other[key] for key in other.keys() - parts}
    assert {key for key in prcc["models"] if prcc["models"][key] != other["models"][key]} == {"inpainter"}


@pytest.mark.parametrize(("family", "name"), [("sdxl", "sdxl"), ("klein", "flux2-klein")])
def test_its_sampler_is_one_that_the_family_has(repository: Path, family: str, name: str) -> None:
    params = load_params(repository / "profiles" / f"prcc-{family}.yaml")
    found = find_entry("dlcr.inpainting.families", name, "family").FAMILY
    sizes = [params.inpaint.size, *(entry.size for entry in params.generated.values() if entry.size)]
    assert params.inpaint.solver in found.solvers
    assert {side % 16 for size in sizes for side in size} == {0}


def test_the_documents_concatenated_sweep_of_k_is_valid(repository: Path, tmp_path: Path) -> None:
    """docs/training.md's lines for Fig. A8 as in the paper (Sec. 15), put into profile prcc."""
    text = (repository / "docs" / "training.md").read_text().split("## K with concatenated data")[1]
    lines = yaml.safe_load(text.split("```yaml")[1].split("```")[0])
    content = yaml.safe_load((repository / "profiles" / "prcc.yaml").read_text())
    content["report"]["tables"] |= lines.pop("report")["tables"]
    for section, items in lines.items():
        content[section] |= items
    params = load_params(written(tmp_path, content))
    assert params.runs["concat-2"].k == 2
    assert training_modes(params, [row.evaluation for row in params.report.tables["a8"].values()]) == ["concat"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_profile_paper_holds_the_items_of_every_dataset(repository: Path, dataset: str) -> None:
    """Word for word, so that what was made under a dataset's own profile is not made again."""
    single, paper = (
        yaml.safe_load((repository / "profiles" / f"{name}.yaml").read_text()) for name in (dataset, "paper")
    )
    for section in ("recipes", *Items.model_fields):
        assert single[section].items() <= paper[section].items()
        assert single["private"].get(section, {}).items() <= paper["private"].get(section, {}).items()
    parts = {"defaults", "private", "report", "recipes", *Items.model_fields}
    assert {key: single[key] for key in single.keys() - parts} == {key: paper[key] for key in paper.keys() - parts}


def test_private_items_are_found_in_their_sections_and_written_once(repository: Path) -> None:
    params = load_params(repository / "profiles" / "ltcc.yaml")
    assert list(params.runs) == list(params.private.runs) == ["ltcc-baseline", "ltcc-progressive"]
    content = file_content(params)
    assert content["runs"] == {}
    assert list(content["private"]["runs"]) == ["ltcc-baseline", "ltcc-progressive"]


@pytest.mark.parametrize(
    ("section", "name", "expected"),
    [
        ("datasets", "ltcc", "datasets.ltcc: LTCC may not be redistributed, it belongs in private.datasets"),
        ("descriptions", "ltcc", "descriptions.ltcc: made from private dataset 'ltcc', it belongs in private.descr"),
        ("outfits", "ltcc", "outfits.ltcc: made from private descriptions 'ltcc', it belongs in private.outfits"),
        ("generated", "ltcc-inpainting", "generated.ltcc-inpainting: made from private dataset 'ltcc', it belongs"),
        (
            "generated",
            "queries-ltcc",
            "generated.queries-ltcc: made from private dataset 'ltcc', it belongs",
        ),
        ("runs", "ltcc-progressive", "runs.ltcc-progressive: made from private dataset 'ltcc', it belongs"),
        ("evaluations", "ltcc-baseline-on-prcc", "evaluations.ltcc-baseline-on-prcc: made from private run 'ltcc-bas"),
    ],
)
def test_what_is_made_from_private_data_is_private(
    repository: Path, tmp_path: Path, section: str, name: str, expected: str
) -> None:
    content = yaml.safe_load((repository / "profiles" / "paper.yaml").read_text())
    content[section][name] = content["private"][section].pop(name)
    with pytest.raises(ValueError, match=r"params\.yaml: ") as error:
        load_params(written(tmp_path, content))
    assert expected in str(error.value)
    content["private"][section][name] = content[section][name]
    with pytest.raises(ValueError, match=rf"private\.{section}\.{name}: {section} has an item of that name too"):
        load_params(written(tmp_path, content))


def test_private_outfits_and_queries_make_an_item_private(repository: Path, tmp_path: Path) -> None:
    """Not only by the dataset: LTCC's texts on PRCC's images, LTCC's query variants in an evaluation."""
    for key, field, value, expected in (
        (
            "generated.inpainting",
            "outfits",
            "ltcc",
            "made from private outfits 'ltcc', it belongs in private.generated",
        ),
        ("runs.paired", "generated", "ltcc-inpainting", "made from private generated 'ltcc-inpainting'"),
        ("evaluations.paired", "queries", "queries-ltcc", "made from private queries 'queries-ltcc'"),
    ):
        content = yaml.safe_load((repository / "profiles" / "paper.yaml").read_text())
        section, name = key.split(".")
        content[section][name][field] = value
        with pytest.raises(ValueError, match=rf"params\.yaml: {key}: {expected}"):
            load_params(written(tmp_path, content))


def written(folder: Path, content: dict) -> Path:
    """`content` as params.yaml in `folder`."""
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("k", "ten", "k: "),
        ("k", "10", "k: "),
        ("k", 0, "k: "),
        ("seeds", [], "seeds: "),
        ("seeds", [1, 0, 1], "seeds: expected every seed once, found 1 more often"),
        ("seeds", [0, 2**63], "seeds.1: "),
        ("seeds", [-1], "seeds.0: "),
        ("seed", 2**63, "seed: "),
        ("runs.paired.seeds", [3, 3], "runs.paired.seeds: expected every seed once, found 3 more often"),
        ("runs.paired.seeds", [], "runs.paired.seeds: "),
        ("parse.batchsize", 3, "parse.batchsize: unknown key"),
        ("runs.paired.mode", "pared", "runs.paired.mode: "),
        ("runs.paired.generated", "inpaintings", "runs.paired.generated: no generated named 'inpaintings'"),
        ("runs.paired.generated", "none", "runs.paired: mode none and generated none belong together"),
        ("evaluations.paired.run", "pair", "evaluations.paired.run: no runs named 'pair'"),
        ("outfits.minicc.descriptions", "mini", "outfits.minicc.descriptions: no descriptions named 'mini'"),
        ("descriptions.minicc.dataset", "mini", "descriptions.minicc.dataset: no datasets named 'mini'"),
        ("descriptions.minicc.describer", "bli", "descriptions.minicc.describer: no describers named 'bli'"),
        ("models.judge", "bli", "models.judge: no describers named 'bli'; there are instructblip, llava"),
        ("generated.guided.discriminator", "d", "generated.guided.discriminator: no discriminators named 'd'"),
        (
            "generated.oracle.discriminator",
            "minicc",
            "generated.oracle: kind oracle has no sampler for a discriminator",
        ),
        ("discriminators.minicc.generated", "guided", "discriminators.minicc.generated: it needs a set that exists"),
        ("discriminators.minicc.generated", "none", "discriminators.minicc.generated: it needs a set that exists"),
        (
            "runs.paired.generated",
            "queries-minicc",
            "runs.paired.generated: 'queries-minicc' has variants of split q",
        ),
        (
            "evaluations.paired.queries",
            "random",
            "paired.queries: 'random' has variants of split train, expected q",
        ),
        ("imported.random", {"dataset": "minicc"}, "imported.random: generated has an item of that name too"),
        ("quality.min_alignment", 0.5, "quality.min_alignment: needs `alignment: true`"),
        ("quality.min_seam", 1.5, "quality.min_seam: "),
        ("parse.max_area", 0.005, "parse.max_area: expected more than min_area (0.01), found 0.005"),
        ("inpaint.size", [96, 0], "inpaint.size.1: "),
        ("report.tables.a1.5", "fast", "report.tables.a1.5: no evaluations named 'fast'"),
        ("report.tables.a1.5", {"evaluation": "ccfa-ablations"}, "a1.5: no evaluations named 'ccfa-ablations'"),
        ("report.tables.a1.5", {"evaluation": "paired", "kind": "best"}, "report.tables.a1.5.kind: "),
        ("report.datasets.mars", "none", "report.datasets.mars: no datasets named 'mars'"),
        ("private.runs", None, "private.runs: "),
        (
            "private.outfits.mine",
            {"descriptions": "mine", "source": "random"},
            "private.outfits.mine.descriptions: no descriptions named 'mine'; there are minicc, minicc-crowd, ",
        ),
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
    with pytest.raises(ValueError, match=r"params\.yaml: ") as error:
        load_params(written(tmp_path, content))
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
    del content["recipes"]["cal-mini"]["epochs"]
    with pytest.raises(ValueError, match=r"recipes\.cal-mini\.epochs: missing key"):
        load_params(written(tmp_path, content))


def test_lookup_lists_what_there_is(repository: Path) -> None:
    params = load_params(repository / "profiles" / "minicc.yaml")
    assert lookup(params.runs, "runs", "paired").mode == "paired"
    with pytest.raises(
        ValueError, match="runs has no 'pair'; it has aim-baseline, aim-paired, aim-progressive, baseline"
    ):
        lookup(params.runs, "runs", "pair")
