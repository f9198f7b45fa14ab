"""Finding faces: rows, errors, the table between stages, and the mini model's parts and behaviour."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from damage import DAMAGE, damage
from hypothesis import given
from hypothesis import strategies as st

from dlcr.faces import FaceFinder, face_schema, find_faces, load_faces, open_faces, source_fingerprint, write_faces
from dlcr.faces.mini import MiniFaceConfig, MiniFaceModel, cut_heads, face_score, normalise, resize
from dlcr.minicc import pretrain_scene, render

MINI = Path(__file__).parents[2] / "models" / "mini" / "faces"
SMALL = {"detector_widths": (4, 8), "detector_depths": (1, 1), "embedder_widths": (4, 4, 4)}


@pytest.fixture(scope="module")
def mini() -> FaceFinder:
    return load_faces(str(MINI))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    torch.manual_seed(0)
    model = MiniFaceModel(MiniFaceConfig(**SMALL))
    torch.nn.init.normal_(model.cell.weight, std=0.5)
    model.half().save_pretrained(folder)
    return folder


def pictures(rng, sizes):
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


def facing(count, first=0, turn=0.4):
    """Scenes of the pretraining stream's plain domain in which the head looks towards the camera, nothing before it."""
    scenes = (pretrain_scene(index, domain_mix=False) for index in range(first, first + 20 * count))
    chosen = [s for s in scenes if abs(s.pose.yaw + s.pose.head_yaw) < turn and not s.view.occluder]
    return chosen[:count]


def from_behind(scene):
    return replace(scene, pose=replace(scene.pose, yaw=math.pi, head_yaw=0.0))


def test_faces_are_found_from_the_front_and_not_from_behind(mini):
    scenes = facing(24)
    front, _ = find_faces(mini, [render(scene).image for scene in scenes], batch=16)
    back, embeddings = find_faces(mini, [render(from_behind(scene)).image for scene in scenes], batch=16)
    assert (front > 0.8).mean() > 0.9
    assert (back < 0.7).mean() > 0.9
    assert (back == 0).mean() > 0.75
    assert not embeddings[back == 0].any()


def test_a_covered_face_is_not_found(mini):
    images = [render(scene).image for scene in facing(12)]
    for image in images:
        image[:40] = image[60, 24]
    assert not find_faces(mini, images, batch=12)[0].any()


def test_other_clothes_leave_the_embedding_and_other_people_change_it(mini):
    scenes = facing(24)
    others = [replace(scene, person=other.person) for scene, other in zip(scenes, scenes[1:] + scenes[:1], strict=True)]
    outfits = [scene.outfit for scene in facing(24, first=5000)]
    own = [render(scene).image for scene in scenes]
    changed = [render(scene, outfit).image for scene, outfit in zip(scenes, outfits, strict=True)]
    strange = [render(scene).image for scene in others]
    scores, rows = find_faces(mini, own + changed + strange, batch=32)
    seen = (scores.reshape(3, -1) > 0).all(0)
    assert seen.sum() > 18
    first, second, third = (part[seen] for part in rows.reshape(3, 24, -1))
    same, different = (first * second).sum(1), (first * third).sum(1)
    # collars cover the chin or bare it, which moves the box a little
    assert np.median(same) > 0.97
    assert np.quantile(same, 0.1) > 0.85
    assert same.min() > 0.7
    assert np.median(different) < 0.3
    assert (same > different).all()


def test_clothes_do_not_reach_the_embedding_through_the_crop():
    """With the box given, what lies below the chin or outside the ellipse may be anything."""
    torch.manual_seed(0)
    images = torch.rand(3, 3, 96, 48)
    boxes = torch.tensor([[18.0, 8, 28, 21], [17.5, 9.25, 29, 20.5], [15, 5, 33, 18]])
    spoilt = images.clone()
    for row, (left, top, right, bottom) in enumerate(boxes.tolist()):
        y, x = (grid + 0.5 for grid in torch.meshgrid(torch.arange(96), torch.arange(48), indexing="ij"))
        form = ((x - (left + right) / 2) / (right - left)).square() + (
            (y - (top + bottom) / 2) / (bottom - top)
        ).square()
        outside = form.sqrt() * 2 > 1 + 2.9 / (bottom - top)  # bilinear sampling reaches one pixel, at the corners 1.4
        spoilt[row, :, outside] = 1 - spoilt[row, :, outside]
        assert outside[math.ceil(bottom) + 2 :].all()
    assert torch.equal(cut_heads(images, boxes, 32), cut_heads(spoilt, boxes, 32))
    assert not torch.equal(images, spoilt)


def test_heads_are_cut_above_the_chin_with_their_proportions():
    rows = torch.arange(96.0)[:, None].expand(96, 48) + 0.5
    columns = torch.arange(48.0).expand(96, 48) + 0.5
    image = torch.stack([rows, columns, torch.zeros(96, 48)])[None] / 96
    left, top, right, bottom = 20.0, 10.0, 28.0, 26.0  # 8 wide, 16 high: the square has 16, from 16 to 32
    heads = cut_heads(image, torch.tensor([[left, top, right, bottom]]), 32)[0]
    values = heads * 0.25 + 0.5
    for i, j in ((0, 16), (10, 15), (16, 16), (31, 15), (20, 22)):
        assert values[0, i, j] * 96 == pytest.approx(top + (i + 0.5) / 2, abs=1e-3)
        assert values[1, i, j] * 96 == pytest.approx(16 + (j + 0.5) / 2, abs=1e-3)
    shown = (heads != 0).any(0)
    for i in range(32):
        for j in range(32):
            y, x = top + (i + 0.5) / 2, 16 + (j + 0.5) / 2
            assert shown[i, j] == (((x - 24) / 4) ** 2 + ((y - 18) / 8) ** 2 <= 1)


@given(values=st.lists(st.floats(-8, 8), min_size=1, max_size=9))
def test_score_is_one_minus_the_share_of_no_face_in_the_softmax(values):
    share = 1 / (1 + sum(math.exp(value) for value in values))
    assert face_score(torch.tensor([values], dtype=torch.float64)).item() == pytest.approx(1 - share)


def test_box_is_the_mean_of_the_cells_boxes(folder):
    model = MiniFaceModel.from_pretrained(folder, dtype=torch.float32).eval()
    image = torch.rand(1, 3, 96, 48)
    with torch.no_grad():
        logits, boxes = model.detect(image)
        maps = model.cell(model.detector(normalise(image)).last_hidden_state)[0]
    assert logits.shape == (1, 24 * 12)
    total, wanted = 0.0, np.zeros(4)
    for row in range(24):
        for column in range(12):
            logit, *sides = (float(value) for value in maps[:, row, column])
            left, top, right, bottom = (4 * math.log1p(math.exp(side)) for side in sides)
            x, y = 4 * column + 2, 4 * row + 2
            total += math.exp(logit)
            wanted += math.exp(logit) * np.array([x - left, y - top, x + right, y + bottom])
    assert boxes[0].numpy() == pytest.approx(wanted / total, abs=1e-3)


def test_a_mirrored_head_is_cut_from_a_mirrored_image():
    image = torch.rand(2, 3, 96, 48)
    boxes = torch.tensor([[18.0, 8, 28, 21], [14, 6, 30, 20]])
    mirrored = boxes * torch.tensor([-1, 1, -1, 1]) + torch.tensor([48, 0, 48, 0])
    heads = cut_heads(image, boxes, 32)
    assert torch.allclose(cut_heads(image.flip(3), mirrored[:, [2, 1, 0, 3]], 32), heads.flip(3), atol=1e-4)


def test_rows_have_length_one_or_nothing_and_ignore_the_batch(mini):
    images = [render(scene).image for scene in map(pretrain_scene, range(24))]
    scores, embeddings = find_faces(mini, images, batch=24)
    assert scores.dtype == embeddings.dtype == np.float32
    assert embeddings.shape == (24, mini.width)
    assert 0 < (scores > 0).sum() < 24
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx((scores > 0).astype(float), abs=1e-5)
    assert (scores[scores > 0] >= 0.5).all()
    other_scores, other = find_faces(mini, images, batch=5)
    assert other_scores == pytest.approx(scores, abs=1e-5)
    assert other == pytest.approx(embeddings, abs=1e-4)


@pytest.mark.parametrize("model", ["small", "mini"])
def test_tiny_thin_and_large_images_are_taken(folder, model):
    finder = load_faces(str(folder) if model == "small" else str(MINI))
    sizes = [(1, 1), (1, 3), (3, 1), (500, 3), (3, 500), (2, 2), (384, 192)]
    scores, embeddings = find_faces(finder, pictures(np.random.default_rng(0), sizes), batch=3)
    assert scores.shape == (7,)
    assert embeddings.shape == (7, 64)
    assert [array.shape for array in find_faces(finder, [], batch=3)] == [(0,), (0, 64)]


def test_images_of_the_models_size_stay_as_they_are_and_larger_ones_are_averaged():
    (image,) = pictures(np.random.default_rng(0), [(96, 48)])
    assert torch.equal(resize(image, (96, 48)), torch.from_numpy(image).permute(2, 0, 1) / 255)
    stripes = np.zeros((384, 192, 3), np.uint8)
    stripes[:, ::4] = 240
    assert (resize(stripes, (96, 48))[..., 2:-2] - 60 / 255).abs().max() < 0.02


def test_shipped_weights_are_small_safetensors():
    files = {path.name: path.stat().st_size for path in MINI.iterdir()}
    assert sum(files.values()) < 3e6
    assert {"README.md", "config.json", "model.safetensors", "scores.json"} == set(files)


def test_bad_images_and_models_are_named(folder, tmp_path):
    finder = load_faces(str(folder))
    with pytest.raises(ValueError, match=r"image 1: expected uint8 \[H, W, 3\]"):
        find_faces(finder, [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)], 1)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_faces(str(tmp_path / "none"))
    parser = str(MINI.parent / "parser")
    with pytest.raises(ValueError, match=r"parser: config\.json says model_type 'segformer', expected 'dlcr-faces'"):
        load_faces(parser)


@pytest.mark.parametrize("kind", DAMAGE)
def test_weights_that_are_not_the_whole_models_are_refused(folder, tmp_path, kind):
    message = damage(folder, tmp_path, kind, "embedder.embedder.embedder.convolution.weight")
    with pytest.raises(ValueError, match=f"^{tmp_path}: .*{message}"):
        load_faces(str(tmp_path))


def test_a_repository_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"^nobody/nothing@main: "):
        load_faces("nobody/nothing@main")


@pytest.mark.parametrize(
    ("score", "row"), [(1.5, (1, 0)), (0.9, (0, 0)), (0.0, (1, 0)), (-0.5, (1, 0)), (0.9, (3, 4)), (math.nan, (1, 0))]
)
def test_results_that_are_no_faces_are_refused(score, row):
    good, bad = (0.7, np.float32([0, 1])), (score, np.float32(row))
    finder = FaceFinder(2, lambda images: [good, bad][: len(images)])
    with pytest.raises(ValueError, match=r"image 1: expected a score in \(0, 1\] with an embedding of length 1"):
        find_faces(finder, [np.zeros((2, 2, 3), np.uint8)] * 2, 2)


def test_fingerprint_of_a_folder_ignores_its_card(folder):
    first = source_fingerprint(str(folder))
    (folder / "README.md").write_text("words")
    assert source_fingerprint(str(folder)) == first
    assert source_fingerprint("owner/name@revision") == "owner/name@revision"


MANIFEST = pd.DataFrame({"image_id": list("abcde"), "split": ["query", "gallery", "train", "query_sc", "val_query"]})
IDS, SCORES = ["a", "b", "d"], [0.75, 0.0, 1.0]
ROWS = [[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]


def written(path, ids=IDS, scores=SCORES, rows=ROWS):
    columns = {"image_id": ids, "score": scores, "embedding": rows}
    write_faces(pa.table(columns, schema=face_schema(len(rows[0]))), path, {"stage": "faces"})
    return path


def test_table_gives_rows_in_the_order_asked_for(tmp_path):
    faces = open_faces(written(tmp_path / "a.parquet"), MANIFEST)
    assert faces.image_ids == IDS
    scores, embeddings = faces.of(["d", "a", "d"])
    assert scores.dtype == embeddings.dtype == np.float32
    assert scores.tolist() == [1.0, 0.75, 1.0]
    assert embeddings == pytest.approx(np.float32([[-1, 0], [0.6, 0.8], [-1, 0]]))
    assert [array.shape for array in faces.of([])] == [(0,), (0, 2)]
    with pytest.raises(ValueError, match=r"a\.parquet: no image_id 'c' among its 3"):
        faces.of(["a", "c"])


def test_same_rows_are_the_same_bytes(tmp_path):
    first, second = (written(tmp_path / name).read_bytes() for name in ("a.parquet", "b.parquet"))
    assert first == second


MORE = {"scores": [*SCORES, 0.0], "rows": [*ROWS, [0.0, 0.0]]}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"ids": ["a", "b", "x"]}, "it lacks image_id 'd'"),
        ({"ids": ["a", "b", "d", "e"], **MORE}, "the manifest lacks image_id 'e'"),
        ({"ids": ["a", "b", "d", "b"], **MORE}, "image_id 'b' occurs twice"),
        ({"scores": [0.75, 0.5, 1.0]}, r"row 1: expected a score in \(0, 1\]"),
        ({"rows": [[0.6, 0.8], [0.0, 0.0], [-1.0, 1.0]]}, "row 2: .*length 1.4"),
    ],
)
def test_tables_that_are_not_the_datasets_are_refused(tmp_path, changed, problem):
    with pytest.raises(ValueError, match=rf"a\.parquet: {problem}"):
        open_faces(written(tmp_path / "a.parquet", **changed), MANIFEST)


def test_files_that_are_no_tables_of_faces_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"faces\.parquet: no such file; run `python -m stages.faces none`"):
        open_faces(tmp_path / "none/faces.parquet", MANIFEST)
    (tmp_path / "text.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ValueError, match=r"text\.parquet: not a readable Parquet file"):
        open_faces(tmp_path / "text.parquet", MANIFEST)
    MANIFEST.to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet: expected image_id, score and embedding"):
        open_faces(tmp_path / "other.parquet", MANIFEST)
