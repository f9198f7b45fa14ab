"""Sharing data as docs/dvc.md says: a folder, an SSH server and an S3 server on loopback, and what is never pushed.

Real commands in clones of one pipeline, profile smoke. The second clone of each remote links its files to its cache in
another way than the first.
"""

import asyncio
import hashlib
import os
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncssh
import boto3
import pytest
import yaml
from clones import command, documented, follow, made_clone, stages_run, start
from dvc.repo import Repo
from layouts import tree
from moto.server import ThreadedMotoServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Listing = Callable[[], set[str]]
KEY, SECRET = "test-key", "test-secret"


@pytest.fixture(scope="module")
def made(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_clone(repository, tmp_path_factory, "remotes")


@pytest.fixture
def clone(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "dlcr", symlinks=True)


@pytest.fixture
def folder(tmp_path: Path) -> tuple[dict[str, str], Listing]:
    """What to write instead of the documented address, and what the remote holds."""
    remote = tmp_path / "remote"
    return {"/mnt/shared/dlcr": str(remote)}, lambda: files(remote)


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[tuple[dict[str, str], Listing]]:
    """An SSH server in this process that knows one key and offers one folder by SFTP, and no commands."""
    remote, identity = tmp_path / "served", tmp_path / "identity"
    remote.mkdir()
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(identity)
    identity.chmod(0o600)
    options = {
        "server_host_keys": [asyncssh.generate_private_key("ssh-ed25519")],
        "authorized_client_keys": asyncssh.import_authorized_keys(key.export_public_key().decode()),
        "sftp_factory": lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(remote)),
    }
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen("127.0.0.1", 0, **options)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    yield (
        {"user@host": f"user@127.0.0.1:{server.get_port()}", "~/.ssh/id_ed25519": str(identity)},
        lambda: files(remote / "srv" / "dlcr"),
    )
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, str], Listing]]:
    """An S3 server in this process with one bucket; nothing of this machine's own settings reaches the client."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    empty = tmp_path / "empty"
    empty.touch()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(empty))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(empty))
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=address, **keys)
    client.create_bucket(Bucket="bucket")
    pages = client.get_paginator("list_objects_v2")

    def listed() -> set[str]:
        found = [item for page in pages.paginate(Bucket="bucket") for item in page.get("Contents", ())]
        return {item["Key"].removeprefix("dlcr/") for item in found}

    yield {"http://127.0.0.1:9000": address, "KEY": KEY, "SECRET": SECRET}, listed
    server.stop()


@pytest.fixture(params=["A folder", "SSH", "S3"])
def remote(request: pytest.FixtureRequest) -> tuple[str, dict[str, str], Listing]:
    """The heading of docs/dvc.md, what to write instead of its addresses, and what the remote holds."""
    return request.param, *request.getfixturevalue({"A folder": "folder", "SSH": "ssh", "S3": "s3"}[request.param])


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def objects(names: set[str]) -> set[str]:
    """The MD5 sums of what a remote holds, from its files' names."""
    return {name.removeprefix("files/md5/").replace("/", "") for name in names if name.startswith("files/md5/")}


def share(repository: Path, clone: Path, heading: str, instead: dict[str, str]) -> list[str]:
    """Adds the remote as documented, pushes, commits; returns the settings that a second clone must be given."""
    lines = documented(repository, heading, instead)
    follow(clone, lines)
    command(clone, "git", "commit", "--quiet", "--all", "--message", "remote")
    return [line for line in lines if "--local" in line]


def second(repository: Path, clone: Path, settings: list[str]) -> tuple[Path, list[str]]:
    """A second clone after the documented commands, and what they printed."""
    clone_it, *rest = documented(repository, "Another clone", {"URL": str(clone), " dlcr": " other"})
    assert rest[0] == "cd other"
    return clone.parent / "other", follow(clone.parent, [clone_it, rest[0], *settings, *rest[1:]])


def tracked(clone: Path) -> dict[str, str]:
    """The outputs that DVC caches under the clone's profile, by path, with their MD5 sums."""
    with Repo(clone) as repo:
        return {out.def_path: out.hash_info.value for out in repo.index.outs if out.use_cache}


def contents(clone: Path) -> dict[str, bytes]:
    paths = [path for name in tracked(clone) for path in [clone / name, *(clone / name).rglob("*")]]
    return {path.relative_to(clone).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def test_a_second_clone_has_nothing_to_do(
    repository: Path, clone: Path, remote: tuple[str, dict[str, str], Listing]
) -> None:
    heading, instead, listed = remote
    settings = share(repository, clone, heading, instead)
    assert objects(listed()) >= set(tracked(clone).values())
    assert SECRET not in (clone / ".dvc" / "config").read_text()
    links = {"A folder": "hardlink", "SSH": "symlink", "S3": "copy"}[heading]
    other, printed = second(repository, clone, [*settings, f"dvc config --local cache.type {links}"])
    assert "Running stage" not in printed[-1]
    assert "up to date" in printed[-1]
    assert "up to date" in command(other, "dvc", "status")
    assert contents(other) == contents(clone)
    assert (other / "dvc.lock").read_bytes() == (clone / "dvc.lock").read_bytes()
    shard = next((other / "generated" / "oracle").glob("*.arrow"))
    assert (shard.is_symlink(), shard.stat().st_nlink > 1) == (links == "symlink", links == "hardlink")
    assert "Everything is up to date" in command(other, "dvc", "push")


def test_strangers_read_by_http(repository: Path, clone: Path, tmp_path: Path) -> None:
    """After an edit only what the changed stage reads; then all of it."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "www")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        instead = {"/srv/www": str(tmp_path / "www"), "127.0.0.1:8000": f"127.0.0.1:{server.server_port}"}
        share(repository, clone, "HTTP, for everybody", instead)
        assert (clone / ".dvc" / "config").read_text().count("url = ") == 1
        other = tmp_path / "other"
        command(tmp_path, "git", "clone", "--quiet", str(clone), other.name)
        params = yaml.safe_load((other / "params.yaml").read_text())
        params["refine"]["m"] += 1
        (other / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        printed = follow(other, documented(repository, "Only what is needed"))
        assert stages_run(printed[0]) == {"refine-eval@progressive"}
        assert (other / "runs" / "progressive").is_dir()
        assert not (other / "masks" / "minicc").exists()
        assert stages_run(command(other, "dvc", "repro", "--pull", "parse@minicc")) == set()
        assert (other / "masks" / "minicc").is_dir()
        command(other, "git", "restore", "params.yaml", "dvc.lock")
        command(other, "dvc", "pull")
        assert contents(other) == contents(clone)
        server.shutdown()


def test_links_instead_of_copies(repository: Path, clone: Path) -> None:
    before = contents(clone)
    follow(clone, documented(repository, "Links instead of copies"))
    assert contents(clone) == before
    shard = next((clone / "generated" / "oracle").glob("*.arrow"))
    assert shard.stat().st_nlink > 1
    assert shard.stat().st_mode & 0o222 == 0
    assert "up to date" in command(clone, "dvc", "repro", "train@oracle")


def test_what_is_made_from_ltcc_is_never_pushed(
    repository: Path, clone: Path, folder: tuple[dict[str, str], Listing]
) -> None:
    """LTCC's stages really run, on a made-up tree of its layout, beside all of the public ones."""
    instead, listed = folder
    source = tree("ltcc", clone / "datasets")
    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["private"]["datasets"] = {"ltcc": {"reader": "ltcc", "source": source.relative_to(clone).as_posix()}}
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    command(clone, "dvc", "repro", "--single-item", "private-prepare@ltcc", "private-parse@ltcc")
    command(clone, "git", "add", "--all")
    share(repository, clone, "A folder", instead)
    command(clone, "dvc", "push", "--run-cache")
    private = {path: md5 for path, md5 in tracked(clone).items() if path in ("data/ltcc", "masks/ltcc")}
    public = {path: md5 for path, md5 in tracked(clone).items() if path not in private}
    assert len(private) == 2
    inside = {
        hashlib.md5(path.read_bytes()).hexdigest()
        for name in private
        for path in (clone / name).rglob("*")
        if path.is_file()
    }
    assert inside
    assert objects(listed()) >= set(public.values())
    assert not objects(listed()) & (inside | set(private.values()))

    command(clone.parent, "git", "clone", "--quiet", str(clone), "other")
    other = clone.parent / "other"
    pull, repro = documented(repository, "What is never pushed")
    pulling = start(other, *shlex.split(pull, comments=True))
    printed = pulling.communicate()[0]
    assert pulling.returncode == 1
    assert "data/ltcc" in printed
    assert {path for path in tracked(other) if not (other / path).exists()} == set(private)
    assert stages_run(follow(other, [repro])[0]) == {"survey", "report"}
