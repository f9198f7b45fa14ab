"""The backbone's recipe end to end on a few scenes."""

import torch

from dlcr.pretrain import backbone
from dlcr.reid.models.resnet import mini_resnet

SMALL = {"scenes": 16, "held_out": 8, "epochs": 1, "batch": 4}


def test_recipe_is_seeded_and_saves_what_loads(tmp_path, few_scenes, monkeypatch):
    monkeypatch.setattr(backbone, "pool", lambda count: few_scenes)
    scores = backbone.pretrain(tmp_path / "a", SMALL)
    assert scores == backbone.pretrain(tmp_path / "b", SMALL)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert set(scores) == {*backbone.CLASSES, "measures"}
    trained, fresh = mini_resnet(str(tmp_path / "a")), mini_resnet()
    key = "embedder.embedder.convolution.weight"
    assert trained.state_dict()[key].shape == fresh.state_dict()[key].shape


def test_attributes_are_those_of_the_scenes():
    from dlcr.minicc import pretrain_scene

    classes, measures = backbone.attributes(3)
    for index in range(3):
        scene = pretrain_scene(index)
        values = dict(zip(backbone.CLASSES, classes[index].tolist(), strict=True))
        assert backbone.CLASSES["upper"][values["upper"]] == scene.outfit.upper.kind
        assert backbone.CLASSES["footwear colour"][values["footwear colour"]] == scene.outfit.footwear.colour
        assert backbone.CLASSES["hair"][values["hair"]] == scene.person.hair_style
        assert measures[index, 6] == torch.tensor(scene.person.height, dtype=torch.float32)
