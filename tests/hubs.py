"""A made-up model hub: repositories as folders, laid into a hub's cache, or served as the hub's API on loopback."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlparse


def commit_of(repository: str) -> str:
    return hashlib.sha1(repository.encode()).hexdigest()


def file_names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def git_blob(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def publish(origin: Path, repository: str, cache: Path, exclude: Sequence[str] = (), tree: bool = True) -> Path:
    """What `hf download REPOSITORY --exclude ...` leaves in a cache; its version 2 writes the list of all files too."""
    source, base, commit = (
        origin / repository,
        cache / f"models--{repository.replace('/', '--')}",
        commit_of(repository),
    )
    snapshot, entries = base / "snapshots" / commit, {}
    for place in (base / "blobs", base / "refs", base / "trees", snapshot):
        place.mkdir(parents=True, exist_ok=True)
    (base / "refs" / "main").write_text(commit)
    for name in file_names(source):
        blob = git_blob(source / name)
        entries[name] = {"size": (source / name).stat().st_size, "blob_id": blob}
        if not any(fnmatch(name, pattern) for pattern in exclude):
            (base / "blobs" / blob).write_bytes((source / name).read_bytes())
            link = snapshot / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(base / "blobs" / blob, link.parent))
    if tree:
        (base / "trees" / f"{commit}.json").write_text(json.dumps({"format_version": 1, "files": entries}))
    return snapshot


@contextmanager
def serve(
    origin: Path, gated: Sequence[str] = (), token: str = "", kind: str = "model"
) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub of the repositories in `origin`, and the paths that it is asked for.

    It gives the files of gated repositories only to those who have the token, if there is one. All repositories are of
    one kind: models, or datasets.
    """
    asked: list[str] = []
    api_prefix, prefix = {"model": ("api/models/", ""), "dataset": ("api/datasets/", "datasets/")}[kind]

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path).strip("/")
            asked.append(f"{self.command} {path}")
            api = path.startswith(api_prefix)
            parts = path.removeprefix(api_prefix if api else prefix).split("/", 4)
            owner, name, verb, revision, rest = parts + [""] * (5 - len(parts))
            repository, folder = f"{owner}/{name}", origin / owner / name
            commit, file = commit_of(repository), folder / rest
            if not folder.is_dir():
                self.answer(401, X_Error_Code="RepoNotFound")
            elif revision not in ("main", commit):
                self.answer(404, X_Error_Code="RevisionNotFound")
            elif api and verb == "revision":
                self.answer(200, json.dumps({"id": repository, "sha": commit, "siblings": []}).encode())
            elif repository in gated and not (token and self.headers["Authorization"] == f"Bearer {token}"):
                self.answer(
                    401, X_Error_Code="GatedRepo", X_Error_Message=f"Access to model {repository} is restricted."
                )
            elif api and verb == "tree":
                files = [(path, folder / path) for path in file_names(folder)]
                tree = [
                    {"type": "file", "path": path, "oid": git_blob(file), "size": file.stat().st_size}
                    for path, file in files
                ]
                self.answer(200, json.dumps(tree).encode())
            elif not file.is_file():
                self.answer(404, X_Error_Code="EntryNotFound")
            else:
                self.answer(200, file.read_bytes(), X_Repo_Commit=commit, ETag=f'"{git_blob(file)}"')

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
