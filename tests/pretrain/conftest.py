"""A few rendered scenes in place of the training pool."""

import numpy as np
import pytest

from dlcr.minicc import outfit_words, pretrain_scene, render
from dlcr.pretrain.pool import Pool


@pytest.fixture(scope="session")
def few_scenes() -> Pool:
    """The first 24 pretraining scenes."""
    scenes = [pretrain_scene(index) for index in range(24)]
    rendered = [render(scene) for scene in scenes]
    return Pool(
        np.stack([item.image for item in rendered]),
        np.stack([item.labels for item in rendered]),
        [outfit_words(scene.outfit) for scene in scenes],
    )
