"""insightface's packs: the wrapper on the real package with small networks of the packs' forms where the package is
installed, and on a stand-in with its API everywhere."""

import inspect
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from dlcr.faces import find_faces, load_faces, source_fingerprint

RED, BLUE = (255, 0, 0), (0, 0, 255)


def constant(name, values):
    return helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.astype(np.float32).ravel())


def write_onnx(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes,
        "made up",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        constants,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_detector(path):
    """SCRFD's form: per stride scores [cells * 2, 1], distances [cells * 2, 4] and landmarks [cells * 2, 10].

    The finest cells' first anchors score how red they are, from 0.02 (grey) to 0.98; a face is 10 cells wide, and its
    landmarks lie in it as in an upright face. The others see nothing.
    """
    nodes, outputs, constants = [], {}, [constant("to_two", np.array([[1.0, 0.0]]))]
    eyes = np.array([[-2, -2], [2, -2], [0, 0], [-1.5, 2], [1.5, 2]], float)
    sides = {"score": 1, "box": 4, "point": 10}
    for stride in (8, 16, 32):
        pooled = f"pooled.{stride}"
        nodes.append(
            helper.make_node("AveragePool", ["input.1"], [pooled], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        for part, count in sides.items():
            weight, bias = np.zeros((2 * count, 3, 1, 1)), np.zeros(2 * count)
            if part == "score":
                bias[:] = -9.0
                if stride == 8:  # red first, values about -1 to 1
                    weight[0, :, 0, 0], bias[0] = (3, -1.5, -1.5), -2
            else:
                bias[:] = np.tile([5.0] * 4 if part == "box" else eyes.ravel(), 2)
            name = f"{part}.{stride}"
            constants += [constant(f"{name}.weight", weight), constant(f"{name}.bias", bias)]
            constants.append(helper.make_tensor(f"{name}.shape", TensorProto.INT64, [2], [-1, count]))
            ends = {"score": "Sigmoid", "box": "Identity", "point": "Identity"}
            nodes += [
                helper.make_node("Conv", [pooled, f"{name}.weight", f"{name}.bias"], [f"{name}.map"]),
                helper.make_node("Transpose", [f"{name}.map"], [f"{name}.last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}.last", f"{name}.shape"], [f"{name}.rows"]),
                helper.make_node(ends[part], [f"{name}.rows"], [name]),
            ]
    for part, count in sides.items():
        for stride in (8, 16, 32):
            outputs[f"{part}.{stride}"] = [f"cells.{stride}", count]
    write_onnx(path, nodes, [1, 3, "height", "width"], outputs, constants[1:])


def write_recogniser(path):
    """ArcFace's form: 112 x 112 pixels to the mean colours of their quarters, 12 numbers, red first."""
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["pooled"], kernel_shape=[56, 56], strides=[56, 56]),
        helper.make_node("Flatten", ["pooled"], ["683"]),
    ]
    write_onnx(path, nodes, ["None", 3, 112, 112], {"683": ["None", 12]}, [])


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def pack(home) -> Path:
    """A pack in its place; only with the real package."""
    pytest.importorskip("insightface")
    folder = home / ".insightface" / "models" / "buffalo_l"
    folder.mkdir(parents=True)
    write_detector(folder / "det_10g.onnx")
    write_recogniser(folder / "w600k_r50.onnx")
    return folder


def picture(*patches):
    """A grey image 96 x 48 with square patches (row, column, colour) of 16 pixels."""
    image = np.full((96, 48, 3), 128, np.uint8)
    for row, column, colour in patches:
        image[row : row + 16, column : column + 16] = colour
    return image


def test_real_package_finds_the_face_and_sees_it_in_rgb(pack):
    finder = load_faces("insightface:buffalo_l")
    assert finder.width == 12
    images = [picture((16, 16, RED)), picture(), picture((16, 16, BLUE)), picture((60, 20, (200, 128, 128)))]
    scores, embeddings = find_faces(finder, images, batch=3)
    assert scores.dtype == embeddings.dtype == np.float32
    assert scores[0] > 0.95
    assert scores[1] == scores[2] == scores[3] == 0
    assert not embeddings[1:].any()
    assert np.linalg.norm(embeddings[0]) == pytest.approx(1, abs=1e-5)
    red, green, blue = embeddings[0].reshape(3, 4).sum(1)  # of the face, which lies on and around the red patch
    assert red > 0 > green
    assert red > 0 > blue


def test_real_package_takes_the_face_with_the_highest_score(pack):
    finder = load_faces("insightface:buffalo_l")
    dull = (255, 60, 60)
    alone = [picture((8, 16, RED)), picture((60, 16, dull))]
    both = [picture((8, 16, RED), (60, 16, dull)), picture((8, 16, dull), (60, 16, RED))]
    scores, embeddings = find_faces(finder, alone + both, batch=4)
    assert scores[0] > scores[1] > 0.5
    assert scores[2:] == pytest.approx(scores[0], abs=0.02)
    assert embeddings[2] @ embeddings[0] > 0.99
    assert embeddings[2] @ embeddings[1] < embeddings[2] @ embeddings[0]


def test_real_package_takes_images_of_every_shape(pack):
    finder = load_faces("insightface:buffalo_l")
    images = [np.full((*size, 3), 90, np.uint8) for size in [(1, 1), (500, 3), (3, 500), (2000, 1), (1, 2000), (2, 2)]]
    scores, embeddings = find_faces(finder, images, batch=2)
    assert not scores.any()
    assert embeddings.shape == (6, 12)


@pytest.mark.parametrize("lost", ["det_10g.onnx", "w600k_r50.onnx"])
def test_real_package_with_half_a_pack_is_one_clear_error(pack, lost):
    (pack / lost).unlink()
    with pytest.raises(ValueError, match=r"buffalo_l: .*(detector|recognition model)"):
        load_faces("insightface:buffalo_l")


def test_real_package_has_the_api_that_the_stand_in_has(pack):
    from insightface.app import FaceAnalysis as Real

    for method in ("__init__", "prepare", "get"):
        real, ours = (inspect.signature(getattr(kind, method)).parameters for kind in (Real, StandIn))
        assert set(ours) <= set(real)


class StandIn:
    """What the wrapper uses of `insightface.app.FaceAnalysis`; `faces` are in every image."""

    faces: tuple = ()
    tasks: tuple = ("detection", "recognition")
    recognition = SimpleNamespace(input_size=(112, 112), get_feat=lambda image: np.zeros((1, 4), np.float32))

    def __init__(self, name, allowed_modules=None, **kwargs):
        assert "detection" in self.tasks
        self.made = (name, allowed_modules, kwargs)
        self.models = {task: self.recognition for task in self.tasks}

    def prepare(self, ctx_id=0, det_thresh=0.5, det_size=None):
        StandIn.last = (*self.made, ctx_id, det_thresh, det_size)

    def get(self, img, max_num=0):
        StandIn.seen = img
        return list(self.faces)


@pytest.fixture
def stand_in(home, monkeypatch) -> type[StandIn]:
    folder = home / ".insightface" / "models" / "buffalo_l"
    folder.mkdir(parents=True)
    (folder / "det_10g.onnx").write_bytes(b"detector")
    app = ModuleType("insightface.app")
    app.FaceAnalysis = StandIn
    monkeypatch.setitem(sys.modules, "insightface", ModuleType("insightface"))
    monkeypatch.setitem(sys.modules, "insightface.app", app)
    monkeypatch.setattr(StandIn, "faces", ())
    monkeypatch.setattr(StandIn, "tasks", StandIn.tasks)
    return StandIn


def face(score, *values):
    row = np.array(values, np.float32)
    return SimpleNamespace(det_score=np.float32(score), normed_embedding=row / np.linalg.norm(row))


def test_pack_is_opened_with_its_two_tasks_and_the_published_settings(stand_in, home, monkeypatch):
    monkeypatch.setenv("DLCR_THREADS", "3")
    assert load_faces("insightface:buffalo_l").width == 4
    name, tasks, options, _, least, size = stand_in.last
    assert name == str(home / ".insightface" / "models" / "buffalo_l")
    assert (tasks, least, size) == (["detection", "recognition"], 0.5, (640, 640))
    assert options["providers"][-1] == "CPUExecutionProvider"
    assert options["sess_options"].intra_op_num_threads == 3


def test_a_gpu_is_used_where_onnxruntime_has_one(stand_in, monkeypatch):
    import onnxruntime

    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    load_faces("insightface:buffalo_l")
    providers = [entry if isinstance(entry, str) else entry[0] for entry in stand_in.last[2]["providers"]]
    assert providers == names[1:]


def test_best_face_has_the_highest_score_and_images_arrive_blue_first(stand_in):
    finder = load_faces("insightface:buffalo_l")
    stand_in.faces = (face(0.6, 1, 0, 0, 0), face(0.9, 0, 3, 4, 0), face(0.7, 0, 0, 1, 0))
    scores, embeddings = find_faces(finder, [picture((0, 0, RED))], batch=1)
    assert scores.tolist() == [np.float32(0.9)]
    assert embeddings[0] == pytest.approx([0, 0.6, 0.8, 0])
    assert stand_in.seen[0, 0].tolist() == [0, 0, 255]
    stand_in.faces = ()
    scores, embeddings = find_faces(finder, [picture()], batch=1)
    assert scores.tolist() == [0]
    assert not embeddings.any()


def test_missing_package_pack_and_models_are_named(stand_in, home, monkeypatch):
    stand_in.tasks = ("recognition",)
    with pytest.raises(ValueError, match=r"buffalo_l: insightface cannot use it as a model pack with a detector"):
        load_faces("insightface:buffalo_l")
    stand_in.tasks = ("detection",)
    with pytest.raises(ValueError, match=r"buffalo_l: .* there is no recognition model"):
        load_faces("insightface:buffalo_l")
    with pytest.raises(FileNotFoundError, match=r"models/antelopev2: no \*\.onnx files; .*'antelopev2'"):
        load_faces("insightface:antelopev2")
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with pytest.raises(
        ValueError, match=r"insightface:buffalo_l: needs the package insightface .*pip install insightface"
    ):
        load_faces("insightface:buffalo_l")


def test_a_damaged_pack_is_named(stand_in, monkeypatch):
    broken = SimpleNamespace(input_size=(112, 112), get_feat=lambda image: np.full((1, 4), np.nan, np.float32))
    monkeypatch.setattr(stand_in, "recognition", broken)
    with pytest.raises(ValueError, match="buffalo_l: damaged weights: the recognition model's results are not finite"):
        load_faces("insightface:buffalo_l")

    def fail(*arguments, **settings):
        raise RuntimeError("Protobuf parsing failed")  # as onnxruntime's errors, which are of no class of their own

    monkeypatch.setattr(sys.modules["insightface.app"], "FaceAnalysis", fail)
    with pytest.raises(ValueError, match=r"buffalo_l: insightface cannot use it .*: Protobuf parsing failed"):
        load_faces("insightface:buffalo_l")


def test_fingerprint_is_that_of_the_packs_files(stand_in, home):
    first = source_fingerprint("insightface:buffalo_l")
    assert source_fingerprint("insightface:buffalo_l") == first
    (home / ".insightface" / "models" / "buffalo_l" / "det_10g.onnx").write_bytes(b"another")
    assert source_fingerprint("insightface:buffalo_l") != first
