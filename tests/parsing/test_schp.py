"""SCHP's ONNX form with a network that tells colours: where the masks land, and the arithmetic around it."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, load, save
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException
from scipy.ndimage import binary_dilation, binary_erosion, map_coordinates

from dlcr.parsing import clothes_labels, label_maps, load_parser, parse_clothes, schp
from dlcr.runtime import weights

MEAN, STD = np.array([0.406, 0.456, 0.485]), np.array([0.225, 0.224, 0.229])  # blue, green, red
RED, BLUE = schp.LIP.index("Upper-clothes"), schp.LIP.index("Pants")


def write_model(path, batch="N", channels=20, labels=None, names=("parsing", "fusion", "edges")):
    """SCHP's form: every fourth pixel; `fusion` has red as upper clothes and blue as pants, else background.

    `parsing` says hair everywhere, so that taking it instead shows.
    """
    background, hair, red, blue = 0, 2, RED % channels, BLUE % channels
    raw = np.zeros((channels, 3))  # on values in [0, 1], blue first
    raw[red], raw[blue] = (-1, -1, 1), (1, -1, -1)
    offset = np.zeros(channels)
    offset[background] = 0.4
    fusion = (raw * STD)[..., None, None], offset + raw @ MEAN
    parsing = np.zeros_like(fusion[0]), np.eye(channels)[hair]
    edges = np.ones((2, 3, 1, 1)), np.zeros(2)
    side = 512 if channels == 18 else 473
    nodes, constants = [], []
    for name, (weight, bias) in zip(names, (parsing, fusion, edges), strict=False):
        for part, values in (("weight", weight), ("bias", bias)):
            constants.append(
                helper.make_tensor(f"{name}.{part}", TensorProto.FLOAT, values.shape, values.astype(np.float32).ravel())
            )
        nodes.append(helper.make_node("Conv", ["input.1", f"{name}.weight", f"{name}.bias"], [name], strides=[4, 4]))
    graph = helper.make_graph(
        nodes,
        "schp",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if labels is not None:
        helper.set_model_props(model, {"labels": labels})
    save(model, path)
    return str(path)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schp")
    return {batch: write_model(folder / f"{batch}.onnx", batch) for batch in ("N", 1)}


def picture(height, width):
    """Grey, with a red upper half and a blue lower half of the middle; returns the image and both regions."""
    image = np.full((height, width, 3), 120, np.uint8)
    rows, columns = np.mgrid[:height, :width]
    inside = (abs(rows - (height - 1) / 2) <= 0.4 * height) & (abs(columns - (width - 1) / 2) <= 0.4 * width)
    upper, lower = inside & (rows < height / 2), inside & (rows >= height / 2)
    image[upper], image[lower] = (255, 0, 0), (0, 0, 255)
    return image, upper, lower


def differs_only_near_borders(mask, truth, pixels):
    square = np.ones((3, 3), bool)
    grown = binary_dilation(truth, square, iterations=pixels)
    shrunk = binary_erosion(truth, square, iterations=pixels, border_value=1)
    return not (mask & ~grown).any() and not (shrunk & ~mask).any()


SIZES = [(128, 64), (64, 128), (96, 48), (473, 473), (40, 40), (256, 60)]


@pytest.mark.parametrize("batch", ["N", 1])
def test_masks_land_where_the_colours_are(models, batch):
    parser = load_parser(models[batch])
    pictures = [picture(*size) for size in SIZES]
    maps = label_maps(parser, [image for image, _, _ in pictures], batch=4)
    for labels, (image, upper, lower) in zip(maps, pictures, strict=True):
        assert labels.shape == image.shape[:2]
        assert labels.dtype == np.uint8
        assert set(np.unique(labels)) == {0, RED, BLUE}
        pixels = 2 if max(labels.shape) < 473 else 3  # a logit stands for four pixels of the network's input
        assert differs_only_near_borders(labels == RED, upper, pixels)
        assert differs_only_near_borders(labels == BLUE, lower, pixels)


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 2), (3, 500), (500, 3), (1, 300), (300, 1)])
def test_tiny_and_thin_images_are_parsed(models, batch, size):
    parser = load_parser(models[batch])
    truth = np.zeros(size, bool)
    truth[size[0] // 2 :] |= size[0] >= size[1]
    truth[:, size[1] // 2 :] |= size[1] > size[0]
    image = np.where(truth[..., None], np.uint8([0, 0, 255]), np.uint8(120))
    (mask,) = parse_clothes(parser, [image], 1)
    assert mask.shape == size
    assert mask[-1, -1]
    assert (mask != truth).sum() <= (2 * min(size) if max(size) > 2 else 0)  # the border is two pixels off at most


def test_results_do_not_depend_on_the_batch(models):
    images = [picture(*size)[0] for size in SIZES]
    maps = [
        label_maps(load_parser(models[kind]), images, batch) for kind, batch in (("N", 6), ("N", 4), ("N", 1), (1, 6))
    ]
    for other in maps[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(maps[0], other, strict=True))


@pytest.fixture
def counts(monkeypatch):
    """How many images the network saw in each of its runs; the first run tells the outputs' shapes."""
    seen = []
    plain = schp.open_session

    def watched(path):
        session = plain(path)

        def run(names, inputs):
            seen.append(len(inputs["input.1"]))
            return session.run(names, inputs)

        kept = {name: getattr(session, name) for name in ("get_inputs", "get_outputs", "get_modelmeta")}
        return SimpleNamespace(run=run, **kept)

    monkeypatch.setattr(schp, "open_session", watched)
    return seen


def test_a_fixed_batch_of_one_is_run_image_by_image(models, counts):
    label_maps(load_parser(models[1]), [picture(20, 10)[0]] * 3, 3)
    assert counts == [1, 1, 1, 1]


def test_an_open_batch_is_run_two_at_a_time(models, counts):
    images = [picture(*size)[0] for size in SIZES[:5]]
    maps = label_maps(load_parser(models["N"]), images, 5)
    assert counts == [1, 2, 2, 1]
    for labels, image in zip(maps, images, strict=True):
        assert np.array_equal(labels, label_maps(load_parser(models[1]), [image], 1)[0])


def test_results_that_are_no_numbers_are_refused(tmp_path):
    """onnxruntime does not show a file's weights, so that only what they give tells."""
    path = tmp_path / "a.onnx"
    write_model(path)
    model = load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "fusion.bias":
            tensor.float_data[3] = float("nan")
    save(model, path)
    with pytest.raises(ValueError, match=r"a\.onnx: .*logits are not finite"):
        label_maps(load_parser(str(path)), [picture(20, 10)[0]], 1)


def reference_coordinates(image, size):
    """Row and column in the image, [2, h, w], of every pixel of an input of `size` = (h, w).

    SCHP lays the centre of the box [0, 0, W - 1, H - 1], widened to the input's shape, onto the input's centre, and
    the box's width onto the input's width less one pixel.
    """
    height, width = image
    box = max(width - 1, (height - 1) * size[1] / size[0], 1)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(float)
    step = box / (size[1] - 1)
    y = (rows - (size[0] - 1) / 2) * step + (height - 1) / 2
    x = (columns - (size[1] - 1) / 2) * step + (width - 1) / 2
    return np.stack([y, x])


@pytest.mark.parametrize("size", [(473, 473), (512, 384)])
@pytest.mark.parametrize("shape", [(128, 64), (64, 128), (1, 1), (1, 2), (600, 300), (3, 200)])
def test_network_input_is_the_image_laid_into_the_square(shape, size):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = schp.network_input(image, size)
    assert found.shape == (3, *size)
    assert found.dtype == torch.float32
    where = reference_coordinates(shape, size)
    for channel in range(3):  # blue first
        plane = image[:, :, 2 - channel].astype(float)
        wanted = map_coordinates(plane, where, order=1, mode="grid-constant", cval=0)
        pixels = (found[channel].cpu().numpy() * STD[channel] + MEAN[channel]) * 255
        assert np.abs(pixels - pixels.round()).max() < 1e-3
        assert np.abs(pixels - wanted).max() < 0.5 + 0.02


@given(height=st.integers(1, 60), width=st.integers(1, 60))
def test_labels_go_back_to_the_pixels_they_came_from(height, width):
    """Logits that name the quadrant of the square come back as the quadrants of the image."""
    logits = torch.zeros(4, 119, 119)
    for quadrant in range(4):
        rows = slice(0, 59) if quadrant < 2 else slice(60, 119)
        columns = slice(0, 59) if quadrant % 2 == 0 else slice(60, 119)
        logits[quadrant, rows, columns] = 1
    labels = schp.best_labels(logits, (473, 473), (height, width))
    wanted = 2 * (np.arange(height) >= height / 2)[:, None] + (np.arange(width) >= width / 2)
    rows = np.arange(height) != (height - 1) / 2  # the middle of an odd side is in two quadrants
    columns = np.arange(width) != (width - 1) / 2
    assert np.array_equal(labels[np.ix_(rows, columns)], wanted[np.ix_(rows, columns)])


def test_logits_are_laid_back_as_schp_does():
    rng = np.random.default_rng(0)
    logits, shape, size = rng.normal(size=(20, 119, 119)).astype(np.float32), (90, 40), (473, 473)
    corners = np.mgrid[:473, :473] * 118 / 472
    enlarged = np.stack([map_coordinates(plane, corners, order=1) for plane in logits])
    step = 89 / 472
    rows = (np.arange(90) - 44.5) / step + 236
    columns = (np.arange(40) - 19.5) / step + 236
    where = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    wanted = np.stack([map_coordinates(plane, where, order=1) for plane in enlarged])
    found = schp.best_labels(torch.from_numpy(logits), size, shape)
    clear = np.diff(np.sort(wanted, 0)[-2:], axis=0)[0] > 1e-3
    assert clear.mean() > 0.99
    assert np.array_equal(found[clear], wanted.argmax(0)[clear])


def test_labels_come_from_the_metadata_or_the_number_of_channels(tmp_path):
    names = [f"part {number}" for number in range(20)]
    names[7] = "pants"
    written = load_parser(write_model(tmp_path / "a.onnx", labels=json.dumps(names)))
    assert written.clothes == (7,)
    lip = load_parser(write_model(tmp_path / "b.onnx"))
    assert lip.clothes == clothes_labels(dict(enumerate(schp.LIP)))
    atr = load_parser(write_model(tmp_path / "c.onnx", 1, 18))
    assert atr.clothes == clothes_labels(dict(enumerate(schp.ATR)))


def test_the_result_is_the_fusion_or_what_is_called_logits(tmp_path):
    image, upper, _ = picture(40, 40)
    for names in (("parsing", "fusion", "edges"), ("parsing", "logits"), ("1028", "1049", "1076")):
        (labels,) = label_maps(load_parser(write_model(tmp_path / "a.onnx", names=names)), [image], 1)
        assert differs_only_near_borders(labels == RED, upper, 1)
    (labels,) = label_maps(load_parser(write_model(tmp_path / "b.onnx", names=("logits", "parsing"))), [image], 1)
    assert set(np.unique(labels)) == {schp.LIP.index("Hair")}


def test_files_that_are_no_such_model_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.onnx: no such file, and not 'owner/name@revision:path"):
        load_parser(str(tmp_path / "none.onnx"))
    for name in ("owner/name:lip.onnx", "owner/name@main/lip.onnx", "@main:lip.onnx", "name@main:lip.onnx"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            load_parser(name)
    (tmp_path / "text.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"text\.onnx: onnxruntime cannot load it"):
        load_parser(str(tmp_path / "text.onnx"))
    for labels in ("[1, 2]", "upper", '{"0": "upper"}'):
        with pytest.raises(ValueError, match=r"a\.onnx: metadata 'labels': expected a JSON list of names"):
            load_parser(write_model(tmp_path / "a.onnx", labels=labels))
    with pytest.raises(ValueError, match=r"b\.onnx: expected an output \[N, 3, height, width\]"):
        load_parser(write_model(tmp_path / "b.onnx", labels='["upper", "lower", "hair"]'))
    with pytest.raises(ValueError, match=r"c\.onnx: expected metadata 'labels' or an output with 20"):
        load_parser(write_model(tmp_path / "c.onnx", labels=None, channels=19))
    with pytest.raises(ValueError, match=r"d\.onnx: expected one input .*found tensor\(float\) \[4, 3, 473, 473\]"):
        load_parser(write_model(tmp_path / "d.onnx", batch=4))
    with pytest.raises(ValueError, match=r"e\.onnx: none of its labels is .*part 0, part 1"):
        load_parser(write_model(tmp_path / "e.onnx", labels=json.dumps([f"part {i}" for i in range(20)])))


def test_a_file_of_the_hub_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"^nobody/nothing@main:lip\.onnx: "):
        load_parser("nobody/nothing@main:lip.onnx")


def test_files_of_the_hub_are_fetched_at_their_revision(models, monkeypatch):
    asked = []

    def download(repository, path, revision):
        asked.append((repository, path, revision))
        return models["N"]

    monkeypatch.setattr(weights, "hf_hub_download", download)
    load_parser("yisol/IDM-VTON@585a32e:humanparsing/parsing_lip.onnx")
    assert asked == [("yisol/IDM-VTON", "humanparsing/parsing_lip.onnx", "585a32e")]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 4585", torch.OutOfMemoryError),
        ("CUDA failure 2: out of memory ; GPU=0", torch.OutOfMemoryError),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0", torch.OutOfMemoryError),
        ("Got invalid dimensions for input", RuntimeException),
    ],
)
def test_a_full_gpu_is_told_as_pytorch_tells_it(message, kind):
    def fail(names, inputs):
        raise RuntimeException(message)

    with pytest.raises(kind, match=message[:20]):
        schp.run(SimpleNamespace(run=fail), "logits", {})


def test_threads_follow_the_environment(models, monkeypatch):
    monkeypatch.setenv("DLCR_THREADS", "3")
    assert schp.open_session(models["N"]).get_session_options().intra_op_num_threads == 3


def test_only_onnx_files_need_onnxruntime(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    spec = importlib.util.spec_from_file_location("schp_without_onnxruntime", schp.__file__)
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    with pytest.raises(ValueError, match=r"N\.onnx: needs the package onnxruntime .*pip install 'dlcr\[onnx\]'"):
        fresh.load(models["N"])
