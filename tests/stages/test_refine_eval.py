"""The refine-eval stage on a made-up dataset of coloured images with an untrained small model."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from narrow import show_only
from safetensors.torch import save_file

from dlcr.data import GENERATED_SCHEMA, IMAGE_SCHEMA, encode_png, load_manifest, save_manifest, write_shard
from dlcr.data.shards import MEASURES
from dlcr.evaluation import tracklets
from dlcr.faces import face_schema, write_faces
from dlcr.reid import build_model
from dlcr.reporting.rankings import load_votes
from dlcr.reporting.results import load_result
from dlcr.runtime import determinism
from stages import refine_eval

SUBJECTS, VARIANTS, SIZE = 4, 2, (32, 16)
SPLITS = {"A": "gallery", "B": "query_sc", "C": "query"}


def picture(rng, subject):
    image = rng.integers(0, 60, (*SIZE, 3))
    image[:10] += np.array([40, 20, 30]) * subject
    return image.astype(np.uint8)


def make_dataset(root, rng):
    rows = [
        (f"{camera}/{subject}_{i}.png", str(subject), f"{subject}{'b' if camera == 'C' else 'a'}", camera)
        for camera in SPLITS
        for subject in range(SUBJECTS)
        for i in range(3)
    ]
    manifest = pd.DataFrame(rows, columns=["image_id", "subject", "clothes", "camera"])
    manifest["split"] = manifest["camera"].map(SPLITS)
    manifest = manifest.assign(tracklet="", frame=np.int32(0))
    manifest = manifest.assign(width=np.int32(SIZE[1]), height=np.int32(SIZE[0]))
    save_manifest(manifest, root / "data/minicc/manifest.parquet")
    columns = {
        "image_id": manifest["image_id"].tolist(),
        "image": [encode_png(picture(rng, int(subject))) for subject in manifest["subject"]],
    }
    write_shard(root / "data/minicc/images/images-00000.arrow", columns, IMAGE_SCHEMA, {"made": "up"})
    return manifest


def make_variants(root, rng, queries):
    for variant in range(VARIANTS):
        made = [not (variant == 1 and i == 0) for i in range(len(queries))]  # one of them was skipped
        columns = {
            "image_id": queries["image_id"].tolist(),
            "subject": queries["subject"].tolist(),
            "source_clothes": queries["clothes"].tolist(),
            "target_clothes": ["x"] * len(queries),
            "variant": [variant] * len(queries),
            "prompt": ["Red shirt"] * len(queries),
            "seed": list(range(len(queries))),
            "image": [
                encode_png(picture(rng, int(s))) if ok else None for s, ok in zip(queries["subject"], made, strict=True)
            ],
            "checksum": ["0" if ok else "" for ok in made],
            "skipped": ["" if ok else "no clothes found" for ok in made],
            **{name: [0.5 if ok else None for ok in made] for name in MEASURES},
        }
        path = root / f"generated/queries-minicc/variant-{variant:03d}-block-0000.arrow"
        write_shard(path, columns, GENERATED_SCHEMA, {"set": "made up"})


def make_run(root, seeds, name="cal-mini"):
    owners = [0, 0, 1, 1]
    for seed in seeds:
        torch.manual_seed(seed)
        model = build_model(name, 2, owners)
        folder = root / f"runs/progressive/seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), folder / "model.safetensors")
        config = {"model": name, "subjects": 2, "clothes": owners, "settings": {}, "size": list(SIZE)}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "history.csv").write_text(f"epoch,learning_rate,identity\n0,0.1,{4 + seed}\n1,0.1,2\n")


@pytest.fixture(scope="module")
def template(tmp_path_factory, repository):
    """A project folder with everything that the stage reads."""
    root = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    manifest = make_dataset(root, rng)
    queries = manifest[manifest["split"] == "query"].sort_values("image_id")
    make_variants(root, rng, queries)
    make_run(root, seeds=[0, 3])
    params = yaml.safe_load((repository / "profiles/minicc.yaml").read_text(encoding="utf-8"))
    params["evaluations"] = {
        "progressive": {
            "run": "progressive",
            "dataset": "minicc",
            "queries": "queries-minicc",
            "faces": "none",
            "features": True,
        },
        "plain": {
            "run": "progressive",
            "dataset": "minicc",
            "queries": "none",
            "faces": "none",
            "rerank": True,
        },
        "geff": {"run": "progressive", "dataset": "minicc", "queries": "queries-minicc", "faces": "minicc"},
    }
    params["faces"] = {"minicc": {"dataset": "minicc"}}
    show_only(params, "progressive")
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return root


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize(("code", "ran"), [("dlcr/reid/models", False), ("own/mine.py", True)])
def test_a_file_beside_the_weights_is_run_only_where_the_recipe_names_code(project, code, ran):
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["runs"]["progressive"]["code"] = code
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    trace = f"from pathlib import Path\nPath({str(project / 'trace')!r}).touch()\n# {code}"
    for seed in (0, 3):
        (project / f"runs/progressive/seed-{seed}/model.py").write_text(trace)
    refine_eval.main("plain")
    assert (project / "trace").exists() == ran


@pytest.fixture
def evaluated(project):
    refine_eval.main("progressive")
    return project / "evaluations/progressive"


def test_metrics_are_the_means_of_the_queries(evaluated):
    metrics = json.loads((evaluated / "scores.json").read_text())
    queries = pd.read_parquet(evaluated / "per_query.parquet")
    assert list(queries.columns) == ["seed", "setting", "kind", "image_id", "subject", "rank", "ap"]
    assert sorted(metrics["seeds"]) == ["0", "3"]
    groups = {name: (name, "plain") for name in ("cc", "sc", "general")}
    groups |= {f"cc_{kind}": ("cc", kind) for kind in ("refined", "averaged")}
    for seed, found in metrics["seeds"].items():
        assert set(found) == {*groups, "cc_single_shot"}
        for name, (setting, kind) in groups.items():
            rows = queries[(queries["seed"] == int(seed)) & (queries["kind"] == kind)]
            rows = rows[rows["setting"] == setting]
            assert len(rows) == metrics["queries"][name]["counted"] == (24 if name == "general" else 12)
            assert found[name]["top1"] == pytest.approx((rows["rank"] == 1).mean() * 100, abs=1e-4)
            assert found[name]["map"] == pytest.approx(rows["ap"].mean() * 100, abs=1e-4)
    for name, measure in (("cc", "map"), ("cc_refined", "top1"), ("cc_single_shot", "map")):
        values = [found[name][measure] for found in metrics["seeds"].values()]
        assert metrics["mean"][name][measure] == pytest.approx(np.mean(values), abs=1e-4)
        assert metrics["std"][name][measure] == pytest.approx(np.std(values, ddof=1), abs=1e-4)


def test_the_headline_is_what_dvc_metrics_shows(evaluated):
    mean = json.loads((evaluated / "scores.json").read_text())["mean"]
    found = json.loads(evaluated.with_name("progressive.json").read_text())
    assert {"top1": found["top1"], "map": found["map"]} == {key: round(value, 2) for key, value in mean["cc"].items()}
    assert found["refined"] == {key: round(value, 2) for key, value in mean["cc_refined"].items()}
    assert set(found) == {"top1", "map", "refined"}


def test_the_history_is_the_mean_over_the_seeds(evaluated, project):
    table = pd.read_csv(evaluated / "history.csv")
    assert table.to_dict("list") == {"epoch": [0, 1], "identity": [5.5, 2.0]}
    path = project / "runs/progressive/seed-3/history.csv"
    path.write_text("epoch,loss\n0,1\n")
    with pytest.raises(ValueError, match=r"seed-3/history\.csv: expected the columns epoch and identity"):
        refine_eval.main("progressive")


def test_private_evaluations_have_a_folder_of_their_own(project):
    """Git ignores it, whatever DVC does."""
    params = yaml.safe_load((project / "params.yaml").read_text())
    for section, name in (("datasets", "minicc"), ("runs", "progressive")):
        params["private"][section][name] = params[section].pop(name)
    for section in ("descriptions", "outfits", "generated", "discriminators", "faces", "runs"):
        params["private"][section] |= params[section]
        params[section] = {}
    params["private"]["datasets"] |= params["datasets"]
    params["datasets"] = {}
    params["private"]["evaluations"], params["evaluations"] = params["evaluations"], {}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    refine_eval.main("plain")
    assert [path.name for path in (project / "evaluations").iterdir()] == ["private"]
    assert (project / "evaluations/private/plain.json").is_file()
    assert (project / "evaluations/private/plain/scores.json").is_file()


def test_rankings_agree_with_the_queries_of_the_first_seed(evaluated):
    rankings = pd.read_parquet(evaluated / "rankings.parquet")
    queries = pd.read_parquet(evaluated / "per_query.parquet")
    queries = queries[(queries["seed"] == 0) & (queries["setting"] == "cc")]
    assert list(rankings.columns) == ["query", "rank", "gallery", "similarity", "correct", "refined"]
    for refined in (False, True):
        kind = rankings[rankings["refined"] == refined]
        assert kind.groupby("query")["rank"].apply(list).map(lambda ranks: ranks == list(range(1, 11))).all()
        first = kind[kind["rank"] == 1].set_index("query")["correct"]
        hits = queries[queries["kind"] == ("refined" if refined else "plain")].set_index("image_id")["rank"] == 1
        assert first.to_dict() == hits.to_dict()
    subjects = {column: rankings[column].str.extract(r"/(\d)_")[0] for column in ("query", "gallery")}
    assert ((subjects["query"] == subjects["gallery"]) == rankings["correct"]).all()
    plain = rankings[~rankings["refined"]]
    assert (plain.groupby("query")["similarity"].diff().dropna() <= 0).all()


def test_counted_votes_make_the_refined_order(evaluated):
    """The subject with most votes leads the refined ranking; every source of a query has m voters, or no variant."""
    votes = load_votes(load_result(evaluated))
    rankings = pd.read_parquet(evaluated / "rankings.parquet")
    plain, refined = (rankings[rankings["refined"] == kind] for kind in (False, True))
    sizes = votes.pivot_table(index="query", columns="variant", values="rank", aggfunc="count")
    assert list(sizes.columns) == [-1, 0, 1]
    assert sizes.isna().sum().tolist() == [0, 0, 1]  # one variant was skipped
    assert set(sizes.to_numpy()[sizes.notna()]) == {5}
    scores = votes[votes["counted"]].groupby(["query", "subject"])["vote"].sum()
    leading = scores.groupby("query").idxmax().map(lambda pair: pair[1])
    first = refined[refined["rank"] == 1].set_index("query")["gallery"].str.extract(r"/(\d)_")[0]
    assert leading.to_dict() == first.to_dict()
    own = votes[votes["variant"] == -1].sort_values(["query", "rank"])
    assert own["counted"].all()
    best = plain[plain["rank"] <= 5].sort_values(["query", "rank"])
    assert own["gallery"].tolist() == best["gallery"].tolist()
    assert own["similarity"].to_numpy(float) == pytest.approx(best["similarity"].to_numpy(float), abs=1e-3)


def test_features_are_those_of_whole_subjects(evaluated, project):
    table = pd.read_parquet(evaluated / "features.parquet")
    manifest = load_manifest(project / "data/minicc")
    expected = manifest[manifest["split"].isin(["query", "gallery"])]
    assert sorted(table["image_id"]) == sorted(expected["image_id"])  # no more than five subjects are there
    assert np.linalg.norm(np.stack(table["feature"]).astype(float), axis=1) == pytest.approx(1, abs=1e-3)
    rankings = pd.read_parquet(evaluated / "rankings.parquet")
    features = table.set_index("image_id")["feature"]
    row = rankings[~rankings["refined"]].iloc[0]
    query, gallery = (features[row[side]].astype(float) for side in ("query", "gallery"))
    assert query @ gallery == pytest.approx(row["similarity"], abs=2e-3)


def test_the_same_bytes_twice_and_times_outside_the_outputs(evaluated, project):
    before = {path.name: path.read_bytes() for path in evaluated.iterdir()}
    refine_eval.main("progressive")
    assert {path.name: path.read_bytes() for path in evaluated.iterdir()} == before
    assert set(before) == {
        "scores.json",
        "history.csv",
        *(f"{name}.parquet" for name in ("features", "per_query", "rankings", "votes")),
    }
    times = json.loads((project / ".dlcr/timings/refine@progressive.json").read_text())
    assert times["images"] == 2 * 12
    times = json.loads((project / ".dlcr/timings/refine-eval@progressive.json").read_text())
    assert times["images"] == 2 * (36 + 23)  # of 24 variants one was skipped
    assert times["images_per_second"] > 0


def test_seeds_side_by_side_are_the_same_bytes(evaluated, monkeypatch):
    before = {path.name: path.read_bytes() for path in evaluated.iterdir()}
    shutil.rmtree(evaluated)
    monkeypatch.setenv("DLCR_WORKERS", "2")
    monkeypatch.setattr(determinism, "core_count", lambda: 2)
    refine_eval.main("progressive")
    assert {path.name: path.read_bytes() for path in evaluated.iterdir()} == before


def test_files_of_an_earlier_evaluation_do_not_stay(evaluated):
    """DVC does not remove them, as they are in Git."""
    (evaluated / "no-sta").mkdir()
    for path in (evaluated / "no-sta/scores.json", evaluated / "older.parquet"):
        path.touch()
    before = {path.name for path in evaluated.iterdir()} - {"no-sta", "older.parquet"}
    refine_eval.main("progressive")
    assert {path.name for path in evaluated.rglob("*") if path.is_file()} == before


def relabel(project, **columns):
    """Other labels for the made-up dataset's images."""
    path = project / "data/minicc/manifest.parquet"
    save_manifest(load_manifest(path).assign(**columns), path)


def use_reader(project, reader):
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["datasets"]["minicc"]["reader"] = reader
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def test_tracklets_are_compared_as_wholes(project):
    manifest = load_manifest(project / "data/minicc/manifest.parquet")
    tracklets = np.where(manifest["camera"] == "B", "", manifest["image_id"].str[:3])  # C/0, three frames each
    relabel(project, tracklet=tracklets)
    use_reader(project, "ccvid")
    refine_eval.main("progressive")
    metrics = json.loads((project / "evaluations/progressive/scores.json").read_text())
    assert set(metrics["mean"]) == {"cc", "cc_refined", "cc_averaged", "sc", "general"}
    assert {name: count["counted"] for name, count in metrics["queries"].items()} == {
        "cc": SUBJECTS, "cc_refined": SUBJECTS, "cc_averaged": SUBJECTS, "sc": 12, "general": SUBJECTS + 12
    }  # fmt: skip
    rankings = pd.read_parquet(project / "evaluations/progressive/rankings.parquet")
    assert set(rankings["query"]) == {f"C/{subject}_0.png" for subject in range(SUBJECTS)}
    assert set(rankings["gallery"]) == {f"A/{subject}_0.png" for subject in range(SUBJECTS)}
    images = json.loads((project / ".dlcr/timings/refine-eval@progressive.json").read_text())["images"]
    assert images == 2 * (36 + 23)  # every frame


def test_frames_are_averaged_in_parts_to_the_same_result(project, monkeypatch):
    manifest = load_manifest(project / "data/minicc/manifest.parquet")
    relabel(project, tracklet=manifest["image_id"].str[:3])
    refine_eval.main("progressive")
    whole = json.loads((project / "evaluations/progressive/scores.json").read_text())
    monkeypatch.setattr(tracklets, "FRAMES", 7)
    refine_eval.main("progressive")
    assert json.loads((project / "evaluations/progressive/scores.json").read_text()) == whole


def test_every_setting_whose_queries_have_variants_is_refined(project):
    """VC-Clothes: the queries of all settings are of one split; its settings differ in cameras."""
    manifest = load_manifest(project / "data/minicc/manifest.parquet")
    camera = manifest["camera"].map({"A": "3", "B": "2", "C": "4"})
    split = manifest["split"].replace("query_sc", "gallery")
    clothes = manifest["subject"] + "-" + manifest["camera"].map({"A": "01", "B": "01", "C": "02"})
    relabel(project, camera=camera, split=split, clothes=clothes)
    use_reader(project, "vc-clothes")
    refine_eval.main("progressive")
    metrics = json.loads((project / "evaluations/progressive/scores.json").read_text())
    assert set(metrics["mean"]) == {
        f"{setting}{end}" for setting in ("cc", "general") for end in ("", "_refined", "_averaged")
    }
    rankings = pd.read_parquet(project / "evaluations/progressive/rankings.parquet")
    assert rankings["gallery"].str.startswith("A/").all()  # camera 3 only


def test_without_clothes_and_cameras_only_general_is_left(project):
    relabel(project, camera="", clothes="")
    use_reader(project, "last")
    refine_eval.main("plain")
    metrics = json.loads((project / "evaluations/plain/scores.json").read_text())
    assert set(metrics["mean"]) == {"general", "general_reranked", "general_centralized"}
    assert metrics["queries"]["general"] == {"counted": 24, "unmatched": 0}


def test_without_query_variants_nothing_is_refined(project):
    refine_eval.main("plain")
    metrics = json.loads((project / "evaluations/plain/scores.json").read_text())
    assert set(metrics["mean"]) == {"cc", "cc_reranked", "cc_centralized", "sc", "general", "cc_single_shot"}
    queries = pd.read_parquet(project / "evaluations/plain/per_query.parquet")
    assert queries.groupby("kind")["setting"].unique().map(list).to_dict() == {
        "plain": ["cc", "sc", "general"],
        "reranked": ["cc"],
        "centralized": ["cc"],
    }


def write_made_up_faces(project, scores):
    """Faces that tell the subject of an image, where `scores` of its camera is not zero."""
    ids = load_manifest(project / "data/minicc/manifest.parquet")["image_id"].tolist()
    rows = [(scores[name[0]], np.eye(SUBJECTS, dtype=np.float32)[int(name[2])] * (scores[name[0]] > 0)) for name in ids]
    columns = [ids, [score for score, _ in rows], [embedding.tolist() for _, embedding in rows]]
    table = pa.Table.from_arrays([pa.array(c) for c in columns], names=["image_id", "score", "embedding"])
    path = project / "faces/minicc/faces.parquet"
    write_faces(table.cast(face_schema(SUBJECTS)), path, {"made": "up"})


def test_faces_wrap_the_model_in_geff(project):
    write_made_up_faces(project, {"A": 0.9, "B": 0.9, "C": 0.9})
    refine_eval.main("geff")
    refine_eval.main("progressive")
    metrics, alone = (
        json.loads((project / f"evaluations/{name}/scores.json").read_text())["mean"]
        for name in ("geff", "progressive")
    )
    assert set(metrics) == {"cc", "cc_refined", "sc", "general"}
    assert metrics["cc"]["top1"] == 100  # the faces know everything
    assert alone["cc"]["top1"] < 100
    rankings = pd.read_parquet(project / "evaluations/geff/rankings.parquet")
    assert rankings.loc[rankings["rank"] == 1, "correct"].all()
    assert rankings.groupby("query")["rank"].apply(list).map(lambda ranks: ranks == list(range(1, 11))).all()


def test_without_any_face_geff_is_the_model_alone(project):
    write_made_up_faces(project, {"A": 0.0, "B": 0.0, "C": 0.0})
    refine_eval.main("geff")
    refine_eval.main("progressive")
    metrics, alone = (
        json.loads((project / f"evaluations/{name}/scores.json").read_text())["mean"]
        for name in ("geff", "progressive")
    )
    assert metrics == {name: alone[name] for name in metrics}


def test_tracklets_have_no_geff(project):
    write_made_up_faces(project, {"A": 0.9, "B": 0.9, "C": 0.9})
    relabel(project, tracklet=load_manifest(project / "data/minicc/manifest.parquet")["image_id"].str[:3])
    with pytest.raises(ValueError, match=r"faces/minicc/faces\.parquet: .* tracklets, and GEFF compares single images"):
        refine_eval.main("geff")


def test_a_model_of_clips_sees_clips_of_tracklets(project):
    manifest = load_manifest(project / "data/minicc/manifest.parquet")
    relabel(project, tracklet=manifest["image_id"].str[:3], frame=np.arange(len(manifest)) % 3)
    use_reader(project, "ccvid")
    make_run(project, seeds=[0, 3], name="c2d-mini")
    refine_eval.main("progressive")
    metrics = json.loads((project / "evaluations/progressive/scores.json").read_text())
    assert set(metrics["mean"]) == {"cc", "cc_refined", "cc_averaged", "sc", "general"}
    assert metrics["queries"]["cc"]["counted"] == SUBJECTS


def test_what_is_missing_is_named_and_nothing_is_written(project):
    with pytest.raises(ValueError, match="evaluations has no 'other'; it has geff, plain, progressive"):
        refine_eval.main("other")
    for path in (project / "generated/queries-minicc").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="queries-minicc: 12 queries lack variants, the first is 'C/0_0"):
        refine_eval.main("progressive")
    shutil.rmtree(project / "runs/progressive")
    with pytest.raises(FileNotFoundError, match=r"runs/progressive: holds no folder seed-<s>"):
        refine_eval.main("progressive")
    assert not (project / "evaluations").exists()
