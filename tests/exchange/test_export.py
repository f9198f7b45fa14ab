"""`dlcr export`: strips that import again, a Hugging Face dataset with its card, and nothing half-written."""

import errno
import hashlib
import io
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result
from exchange.expanded import make_set, make_workplace
from PIL import Image
from typer.testing import CliRunner

from dlcr.cli import app
from dlcr.data import load_manifest, open_generated
from dlcr.data.shards import checksum
from dlcr.exchange import parquet, trees


@pytest.fixture
def workplace(repository, tmp_path, monkeypatch) -> Path:
    """PRCC with a set of three variants; one image has none, another lacks one."""
    monkeypatch.chdir(tmp_path)
    first, second = "prcc/rgb/train/001/A_cropped_rgb001.jpg", "prcc/rgb/train/002/C_cropped_rgb006.jpg"
    make_workplace(repository, tmp_path, "prcc", k=3, skipped={*((first, v) for v in range(3)), (second, 1)})
    return tmp_path


def export(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", *arguments])


def done(*arguments: str) -> str:
    result = export(*arguments)
    assert result.exit_code == 0, result.exception
    return result.output


def error(*arguments: str) -> str:
    result = export(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, (ValueError, OSError))
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_strips_import_again_byte_for_byte(workplace: Path) -> None:
    said = done("prcc-set", "--as", "strips", "out")
    assert "out: 38 variants of 13 images; 4 were skipped and are left out" in said
    assert "12 strips of 3 variants; 2 images lack a variant and have no strip" in said
    again = CliRunner().invoke(app, ["import-released", "out", "--dataset", "prcc", "--allow-missing"])
    assert again.exit_code == 0, again.exception
    before, after = open_generated("generated/prcc-set"), open_generated("generated/prcc-released")
    assert (after.variants, after.image_ids) == (3, before.image_ids)
    whole = [image_id for image_id in before.image_ids if not any(before.skipped(image_id, v) for v in range(3))]
    assert len(whole) == 12
    for image_id in before.image_ids:
        for variant in range(3):
            if image_id in whole:
                assert after.encoded(image_id, variant) == before.encoded(image_id, variant)
                assert after.prompt(image_id, variant) == before.prompt(image_id, variant)
            else:
                assert after.encoded(image_id, variant) is None


def test_strips_are_the_published_form(workplace: Path) -> None:
    """Variants from left to right, a line for each; said without this project's code."""
    done("prcc-set", "--as", "strips", "out")
    generated = open_generated("generated/prcc-set")
    image_id = "prcc/rgb/train/002/B_cropped_rgb005.jpg"
    with Image.open(Path("out", image_id).with_suffix(".png")) as strip:
        assert strip.size == (3 * 4, 8)
        for variant in range(3):
            part = np.asarray(strip.crop((4 * variant, 0, 4 * (variant + 1), 8)))
            np.testing.assert_array_equal(part, generated[image_id, variant])
    lines = Path("out", image_id).with_suffix(".txt").read_text().split("\n")
    assert lines == [generated.prompt(image_id, variant) for variant in range(3)] + [""]


@pytest.mark.parametrize("prompt", ["Gray shirt|\nblue jeans", "a\rb", "  "])
def test_a_prompt_that_is_no_line_cannot_be_a_strip(workplace: Path, prompt: str) -> None:
    make_set(Path("generated/prcc-set"), load_manifest("data/prcc"), "prcc", k=3, prompt=lambda row, variant: prompt)
    assert "is no line of text" in error("prcc-set", "--as", "strips", "out")
    assert not Path("out").exists()


def test_parquet_holds_every_variant_with_its_labels(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several files and row groups; bytes as they are in the set."""
    monkeypatch.setattr(parquet, "ROWS", 4)
    monkeypatch.setattr(parquet, "FILE_BYTES", 6000)
    said = done("prcc-set", "--as", "parquet", "out")
    files = sorted(Path("out/data").iterdir())
    assert len(files) > 2
    assert f"{len(files)} Parquet files" in said
    assert [path.name for path in files] == [f"train-{n:05d}-of-{len(files):05d}.parquet" for n in range(len(files))]
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    generated, manifest = open_generated("generated/prcc-set"), load_manifest("data/prcc").set_index("image_id")
    table = generated.table()
    made = table[table["skipped"] == ""].set_index(["image_id", "variant"]).sort_index()
    assert [(row["image_id"], row["variant"]) for row in rows] == made.index.tolist()
    for row, (key, line) in zip(rows, made.iterrows(), strict=True):
        assert row["image"]["bytes"] == generated.encoded(*key)
        assert checksum(row["image"]["bytes"]) == row["checksum"]
        for name in ("subject", "source_clothes", "target_clothes", "prompt", "seed", "change", "smoothness"):
            assert row[name] == line[name]
        assert row["alignment"] is None
        assert row["camera"] == manifest["camera"][key[0]]
    names = Counter(row["image"]["path"] for row in rows)
    assert max(names.values()) == 1
    assert "prcc_rgb_train_001_B_cropped_rgb005-002.png" in names


def test_the_schema_is_that_of_the_library_datasets(workplace: Path) -> None:
    done("prcc-set", "--as", "parquet", "out")
    schema = pq.read_schema("out/data/train-00000-of-00001.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features.pop("image") == {"_type": "Image"}
    assert str(schema.field("image").type) == "struct<bytes: binary, path: string>"
    names = {"float": "float32"}
    for name, feature in features.items():
        found = str(schema.field(name).type)
        assert feature == {"dtype": names.get(found, found), "_type": "Value"}


def test_the_card_says_what_it_is(workplace: Path) -> None:
    done("prcc-set", "--as", "parquet", "out")
    _, head, text = Path("out/README.md").read_text().split("---\n", 2)
    head = yaml.safe_load(head)
    assert (head["license"], head["license_name"]) == ("other", "of-the-original")
    assert head["size_categories"] == ["n<1K"]
    split = head["dataset_info"]["splits"][0]
    assert (split["name"], split["num_examples"]) == ("train", 38)
    file = Path("out/data/train-00000-of-00001.parquet")
    assert head["dataset_info"]["download_size"] == file.stat().st_size
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*"}]
    assert [feature["name"] for feature in head["dataset_info"]["features"]] == pq.read_schema(file).names
    assert "38 variants of 13 images of PRCC" in text
    assert "4 that were skipped" in text
    assert "PRCC's licence holds for them" in text
    assert "Private" not in text
    provenance = json.loads(text.split("```json\n")[1].split("```")[0])
    assert provenance["made_by"]["model"] == "noise@abc"
    assert set(provenance["hashes"]) == {"generated/prcc-set", "data/prcc/manifest.parquet"}
    assert "params" not in provenance  # the pipeline did not make an imported set


def test_croissant_names_every_file_and_column(workplace: Path) -> None:
    """The properties that Croissant 1.0 requires, and references that lead somewhere."""
    done("prcc-set", "--as", "parquet", "out")
    data = json.loads(Path("out/croissant.json").read_text())
    assert data["@type"] == "sc:Dataset"
    assert data["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    for name in ("@context", "name", "description", "url", "license", "creator", "datePublished"):
        assert data[name]
    (file, files), (records,) = data["distribution"], data["recordSet"]
    content = Path("out", file["contentUrl"]).read_bytes()
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert file["contentSize"] == f"{len(content)} B"
    assert list(Path("out").glob(files["includes"])) == [Path("out", file["contentUrl"])]
    assert [field["source"]["extract"]["column"] for field in records["field"]] == list(parquet.TYPES)
    assert {field["source"]["fileSet"]["@id"] for field in records["field"]} == {files["@id"]}
    ids = {field["@id"] for field in records["field"]}
    assert {key["@id"] for key in records["key"]} <= ids


def test_the_library_datasets_reads_it(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(parquet, "FILE_BYTES", 3000)
    monkeypatch.setattr(parquet, "ROWS", 4)
    done("prcc-set", "--as", "parquet", "out")
    found = datasets.load_dataset("out", cache_dir="cache")["train"]
    generated = open_generated("generated/prcc-set")
    assert found.num_rows == 38
    assert isinstance(found.features["image"], datasets.Image)
    for row in found:
        np.testing.assert_array_equal(np.asarray(row["image"]), generated[row["image_id"], row["variant"]])


def test_the_library_mlcroissant_reads_it(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    monkeypatch.setattr(parquet, "FILE_BYTES", 3000)
    monkeypatch.setattr(parquet, "ROWS", 4)
    done("prcc-set", "--as", "parquet", "out")
    described = mlcroissant.Dataset(jsonld="out/croissant.json")
    assert not described.metadata.ctx.issues.errors
    assert not described.metadata.ctx.issues.warnings
    rows = list(described.records("variants"))
    assert len(rows) == 38
    generated = open_generated("generated/prcc-set")
    for row in rows:
        key = (row["variants/image_id"].decode(), int(row["variants/variant"]))
        np.testing.assert_array_equal(np.asarray(row["variants/image"]), generated[key])


@pytest.mark.parametrize("form", ["strips", "tree", "parquet"])
def test_private_data_need_a_word(repository, tmp_path, monkeypatch, form: str) -> None:
    monkeypatch.chdir(tmp_path)
    make_workplace(repository, tmp_path, "ltcc")
    assert "--private exports it for your own use" in error("ltcc-set", "--as", form, "out")
    assert not Path("out").exists()
    done("ltcc-set", "--as", form, "out", "--private")
    text = Path("out/README.md").read_text()
    assert "**Private.**" in text
    assert "LTCC's licence forbids to pass on its images and what is made from them" in text
    if form == "parquet":
        assert "private" in yaml.safe_load(text.split("---\n")[1])["tags"]
        assert "Private" in json.loads(Path("out/croissant.json").read_text())["description"]


def test_a_set_of_the_pipeline(repository, tmp_path, monkeypatch) -> None:
    """MiniCC's own pictures are free; a card holds what painted them; there is no tree of them."""
    monkeypatch.chdir(tmp_path)
    make_workplace(repository, tmp_path, "minicc")
    done("inpainting", "--as", "parquet", "out")
    _, head, text = Path("out/README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "apache-2.0"
    provenance = json.loads(text.split("```json\n")[1].split("```")[0])
    assert provenance["params"]["models"]["inpainter"] == "models/mini/inpainter"
    assert provenance["params"]["inpaint"]["solver"] == "dpm++"
    assert provenance["set"]["kind"] == "inpainting"
    message = error("inpainting", "--as", "tree", "tree")
    assert (
        "'minicc' has no published folder layout; those of ccvid, folder, last, ltcc, prcc, vc-clothes have" in message
    )


def test_variants_of_queries_are_no_training_images(repository, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_workplace(repository, tmp_path, "prcc", split="query")
    assert "variants of split query would change the test" in error("prcc-set", "--as", "tree", "out")
    done("prcc-set", "--as", "parquet", "out")
    assert [path.name for path in Path("out/data").iterdir()] == ["query-00000-of-00001.parquet"]
    done("prcc-set", "--as", "strips", "strips")
    assert Path("strips/prcc/rgb/test/C/005/cropped_rgb003.png").is_file()


def test_the_gate_leaves_out_what_falls_short(workplace: Path) -> None:
    """params.yaml asks for a change of 0.3; a quarter of the variants each has 0, 0.25, 0.5 and 0.75."""
    table = open_generated("generated/prcc-set").table()
    good = int((table["change"] >= 0.3).sum())
    assert 0 < good < 38
    said = done("prcc-set", "--as", "parquet", "out", "--gate")
    assert f"out: {good} variants" in said
    assert f"{42 - good} were skipped" in said
    assert pq.read_table("out/data").num_rows == good
    assert '"change": 0.3' in Path("out/README.md").read_text()


def test_bad_input_is_one_error_and_nothing_is_left(workplace: Path) -> None:
    before = sorted(workplace.iterdir())
    message = error("nothing", "--as", "tree", "out")
    assert "no generated set 'nothing' in params.yaml; it has colour, garment, guided, inpainting" in message
    assert "of these prcc-set lie in generated/" in message
    assert "run `dvc repro inpaint@oracle`" in error("oracle", "--as", "tree", "out")
    assert "expected strips, tree or parquet" in error("prcc-set", "--as", "tar", "out")
    assert sorted(workplace.iterdir()) == before
    Path("out").mkdir()
    Path("link").symlink_to("nowhere")
    for taken in ("out", "link"):
        assert f"{taken}: exists already" in error("prcc-set", "--as", "tree", taken)
    assert not list(Path("out").iterdir())
    Path("data/prcc/manifest.parquet").unlink()
    assert "run `dvc repro prepare@prcc`" in error("prcc-set", "--as", "parquet", "new")


def test_an_imported_set_that_is_not_there(workplace: Path) -> None:
    Path("generated/prcc-set").rename("generated/other")
    assert "generated/other is there: list it under `imported`" in error("other", "--as", "tree", "out")
    message = error("prcc-set", "--as", "tree", "out")
    assert "run `dlcr import-released RELEASE --dataset prcc --name prcc-set`" in message


def test_a_set_of_other_images(workplace: Path) -> None:
    make_set(Path("generated/prcc-set"), load_manifest("data/prcc"), "other", k=3)
    assert "made from dataset 'other', params.yaml says 'prcc'" in error("prcc-set", "--as", "tree", "out")
    manifest = load_manifest("data/prcc").assign(image_id=lambda table: "x/" + table["image_id"])
    make_set(Path("generated/prcc-set"), manifest, "prcc", k=3)
    assert "which data/prcc does not have" in error("prcc-set", "--as", "tree", "out")


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_is_stopped_leaves_nothing(workplace: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException) -> None:
    write, written = trees._write, []

    def write_some(path: Path, data: bytes) -> None:
        if len(written) == 9:
            raise stop
        written.append(path)
        write(path, data)

    before = sorted(workplace.iterdir())
    monkeypatch.setattr(trees, "_write", write_some)
    message = error("prcc-set", "--as", "tree", "new/out")
    assert written[0].name.endswith(".jpg")
    said = "cannot be written, and nothing was left there: [Errno 28] No space left on device"
    assert message == f"new/out: {said if isinstance(stop, OSError) else 'interrupted, and nothing was left there'}"
    assert [path for path in sorted(workplace.iterdir()) if path not in before] in ([], [Path(workplace, "new")])
    assert not list(Path("new").rglob("*"))


def test_a_folder_that_cannot_be_written(workplace: Path) -> None:
    Path("file").write_text("")
    assert "file/out: cannot be written" in error("prcc-set", "--as", "parquet", "file/out")


def test_the_same_set_gives_the_same_bytes(workplace: Path) -> None:
    """But for the date in croissant.json, which Croissant asks for."""

    def content(path: Path) -> bytes:
        data = path.read_bytes()
        return re.sub(rb'"datePublished": "[-0-9]{10}"', b"", data) if path.name == "croissant.json" else data

    for form in ("strips", "tree", "parquet"):
        done("prcc-set", "--as", form, f"one-{form}")
        done("prcc-set", "--as", form, f"two-{form}")
        found = {path.relative_to(f"one-{form}"): path for path in Path(f"one-{form}").rglob("*") if path.is_file()}
        again = {path.relative_to(f"two-{form}"): path for path in Path(f"two-{form}").rglob("*") if path.is_file()}
        assert found.keys() == again.keys()
        for name, path in found.items():
            assert content(path) == content(again[name]), name


def test_pictures_are_pictures_under_any_name(workplace: Path) -> None:
    """A variant in a .jpg of the tree is the set's PNG."""
    done("prcc-set", "--as", "tree", "out")
    path = next(Path("out/prcc/rgb/train").glob("0_*/A_*.jpg"))
    assert Image.open(io.BytesIO(path.read_bytes())).format == "PNG"
