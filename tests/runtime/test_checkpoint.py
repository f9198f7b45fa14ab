"""Where weights come from, and the one clear error when they aren't there."""

import pytest

from dlcr.runtime.checkpoint import Checkpoint, code_hash, find_checkpoint


def test_hub_name_needs_a_revision():
    assert find_checkpoint("owner/name@abc123") == Checkpoint("owner/name", "abc123")
    for name in ("owner/name", "owner/name@", "models/mini/nothing", "nothing@abc", "../a/b@c", "/a/b@c"):
        with pytest.raises(FileNotFoundError, match="owner/name@revision"):
            find_checkpoint(name)


def test_local_folder_must_be_complete(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        find_checkpoint(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickles are not read")
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        find_checkpoint(str(tmp_path))
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"")
    assert find_checkpoint(str(tmp_path)) == Checkpoint(str(tmp_path), None)


def test_no_code_from_a_repository():
    assert find_checkpoint("a/b@c").weights()["use_safetensors"] is True
    assert find_checkpoint("a/b@c").arguments() == {"revision": "c", "trust_remote_code": False}


def test_code_hash_changes_with_the_code(tmp_path):
    class Package:
        __name__ = "package"
        __file__ = str(tmp_path / "__init__.py")

    (tmp_path / "__init__.py").write_text("a = 1")
    before = code_hash(Package)
    assert before == code_hash(Package)
    (tmp_path / "__init__.py").write_text("a = 2")
    assert before != code_hash(Package)
