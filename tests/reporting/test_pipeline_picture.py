"""docs/pipeline.svg is the pipeline of dvc.yaml, whole and legible."""

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

from dlcr.reporting.pipeline import PICTURE, arrange, arrows, load_stages, pipeline_svg, reached, without_implied


def test_the_committed_picture_is_of_the_present_pipeline(repository: Path) -> None:
    drawn = pipeline_svg(repository / "dvc.yaml")
    assert (repository / PICTURE).read_text() == drawn, "run: python -m dlcr.reporting.pipeline"
    names = [item.text for item in ElementTree.fromstring(drawn).findall(".//{*}text") if item.get("class") == "name"]
    assert names == [stage.name for stage in load_stages(repository / "dvc.yaml")]
    assert len(names) == 12
    assert "prefers-color-scheme: dark" in drawn


def test_no_arrow_is_lost(repository: Path) -> None:
    every = arrows(load_stages(repository / "dvc.yaml"))
    drawn = without_implied(every)
    for start in {start for start, _ in every}:
        assert reached(start, drawn) == reached(start, every)
    assert {("inpaint", "discriminate"), ("discriminate", "inpaint"), ("train", "refine-eval")} <= set(drawn)
    assert ("prepare", "report") in set(every) - set(drawn)


def test_what_has_no_arrow_is_named_in_the_box(tmp_path: Path) -> None:
    pipeline = tmp_path / "dvc.yaml"
    pipeline.write_text(
        "stages:\n"
        "  a: {cmd: run one a, deps: [src/a.py], outs: [x]}\n"
        "  b: {foreach: [1], do: {cmd: run one b, deps: [x/1], outs: [y/1: {cache: false}]}}\n"
        "  private-b: {foreach: [1], do: {cmd: run one b, deps: [x/1], outs: [y/1]}}\n"
        "  c: {cmd: run two c, deps: [x, y, src/c.py], metrics: [z.json: {cache: false}], outs: [z]}\n"
    )
    stages = load_stages(pipeline)
    assert [(stage.name, stage.family, stage.reads) for stage in stages] == [
        ("a", "one", ()),
        ("b", "one", ("x",)),
        ("c", "two", ("x", "y")),
    ]
    assert without_implied(arrows(stages)) == [("a", "b"), ("b", "c")]
    assert pipeline_svg(pipeline).count("also x<") == 1


def test_boxes_and_long_arrows_keep_apart(repository: Path) -> None:
    stages = load_stages(repository / "dvc.yaml")
    drawn = without_implied(arrows(stages))
    places = arrange([stage.name for stage in stages], drawn)
    assert all(places[a] != places[b] for a, b in combinations(places, 2))
    for start, end in drawn:
        (first, row), (last, _) = places[start], places[end]
        assert not {(column, row) for column in range(first + 1, last)} & set(places.values()), (start, end)
