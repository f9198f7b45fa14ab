"""Faces by the package `insightface` and one of its model packs; see `dlcr.faces.load_faces`.

`buffalo_l`, GEFF's choice, is SCRFD-10GF for detection and a ResNet-50 (ArcFace, WebFace600K) of 512 dimensions for
recognition. The package is MIT; its packs are for research that is not commercial, so neither comes with this project
and nothing is downloaded here: a pack lies in ~/.insightface/models/<name>. Facts about the package are those of its
releases 0.7.3 and 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlcr.runtime.determinism import thread_count

if TYPE_CHECKING:
    from insightface.app import FaceAnalysis

MIN_SCORE = 0.5  # a detection below it is no face: the package's default, and the mini model's
PACKS = "~/.insightface/models"  # where the package keeps them
DETECTION_SIZE = (640, 640)  # images are enlarged to it, black around them; the default of the release GEFF used
TASKS = ("detection", "recognition")


def load(pack: str) -> tuple[int, Callable[[Sequence[np.ndarray]], list[tuple[float, np.ndarray]]]]:
    """The embedding's length, and the function from RGB images to (score, embedding) of each.

    pack: a name like `buffalo_l`. Raises ValueError without the package, for a pack that has no detection or no
    recognition, and for one whose recognition gives no numbers; FileNotFoundError if the pack isn't there.
    """
    app = open_pack(pack)
    recognition = app.models["recognition"]
    sample = recognition.get_feat(np.zeros((*recognition.input_size[::-1], 3), np.uint8))
    if not np.isfinite(sample).all():  # onnxruntime does not show a file's weights
        raise ValueError(
            f"{pack_folder(pack)}: damaged weights: the recognition model's results are not finite numbers"
        )
    width = sample.size

    def work(images: Sequence[np.ndarray]) -> list[tuple[float, np.ndarray]]:
        return [best_face(app, image, width) for image in images]

    return width, work


def best_face(app: FaceAnalysis, image: np.ndarray, width: int) -> tuple[float, np.ndarray]:
    """Detection score and embedding [width] of the face with the highest detection score, as in GEFF's own code.

    Without a face: 0 and zeros. image: RGB uint8 [H, W, 3].
    """
    found = []
    if max(image.shape[:2]) <= DETECTION_SIZE[0] * min(image.shape[:2]):  # a thinner one would shrink to nothing
        found = app.get(np.ascontiguousarray(image[..., ::-1]))  # blue first, as OpenCV reads files
    if not found:
        return 0.0, np.zeros(width, np.float32)
    best = max(found, key=lambda face: face.det_score)
    return float(best.det_score), best.normed_embedding


def pack_folder(pack: str) -> Path:
    """Where a pack's files lie."""
    return Path(PACKS, pack).expanduser()


def open_pack(pack: str) -> FaceAnalysis:
    """The pack's detector and recogniser, on the GPU if onnxruntime can. Errors as of `load`."""
    try:
        import onnxruntime
        from insightface.app import FaceAnalysis
    except ImportError as error:
        raise ValueError(
            f"insightface:{pack}: needs the package insightface ({error}); install it with: pip install insightface"
        ) from error
    folder = pack_folder(pack)
    if not list(folder.glob("*.onnx")):  # the package would download it
        raise FileNotFoundError(
            f"{folder}: no *.onnx files; expected insightface's model pack {pack!r} (models for research that is not "
            f"commercial, https://github.com/deepinsight/insightface/releases, {pack}.zip)"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        # the default searches for the fastest convolution by trying, so that results depend on the moment
        providers.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "DEFAULT"}))
    try:
        # the folder, not the name, which a folder of that name where the stage runs would hide
        app = FaceAnalysis(str(folder), allowed_modules=list(TASKS), providers=providers, sess_options=options)
    except Exception as error:  # AssertionError without a detector; onnxruntime's own share no other base
        raise ValueError(f"{folder}: insightface cannot use it as a model pack with a detector: {error}") from error
    if missing := sorted(set(TASKS) - set(app.models)):
        raise ValueError(f"{folder}: expected a detection and a recognition model, there is no {missing[0]} model")
    app.prepare(ctx_id=0, det_thresh=MIN_SCORE, det_size=DETECTION_SIZE)
    return app
