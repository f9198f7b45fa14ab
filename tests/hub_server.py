"""A model hub on loopback: what the Hugging Face hub's API answers about the repositories in a folder.

    with serve(origin, gated={"meta-llama/Llama-2-7b-chat-hf"}, token="hf_made_up") as hub:
        ...  # HF_ENDPOINT=hub.address
        hub.asked  # [("GET", "/owner/name/resolve/main/config.json"), ...]

A gated repository tells everybody of itself, and gives its files to those with the token.
"""

import hashlib
import json
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlparse


@dataclass
class Hub:
    """A hub that runs; `asked` grows by every request: method and path."""

    origin: Path
    gated: Set[str]
    token: str
    address: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serve(origin: Path, gated: Set[str] = frozenset(), token: str = "") -> Iterator[Hub]:
    """Runs a hub until the block ends; `origin` holds owner/name/files."""
    hub = Hub(origin, gated, token)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Answers,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def commit_of(repository: str) -> str:
    """The commit that a repository's branch `main` is at."""
    return hashlib.sha1(repository.encode()).hexdigest()


@cache
def digest(path: Path) -> str:
    """As the hub names files: by SHA-256 where they are large, by git's SHA-1 else."""
    data = path.read_bytes()
    if len(data) >= 2**20 or path.suffix in (".safetensors", ".bin", ".ckpt"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def listing(folder: Path) -> dict[str, Path]:
    """A repository's files by name."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


class Answers(BaseHTTPRequestHandler):
    """Routes of the API: api/models/R[/revision/C], api/models/R/tree/C, R/resolve/C/FILE."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """`Hub.asked` is the log."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.asked.append((self.command, path))
        api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models").strip("/").split("/")
        repository, (what, revision, *rest) = "/".join(parts[:2]), [*parts[2:4], "", ""][:2] + parts[4:]
        folder, name = self.hub.origin / repository, "/".join(rest)
        known = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if not repository or not folder.is_dir():
            self.refuse(401, "RepoNotFound", "Repository not found")
        elif revision not in ("", "main", commit_of(repository)):
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif repository in self.hub.gated and not known and what in ("tree", "resolve"):
            said = f"Access to model {repository} is restricted. You must have access to it and be authenticated"
            self.refuse(401, "GatedRepo", f"{said} to access it. Please log in.")
        elif api and what in ("", "revision"):
            self.send(self.about(repository))
        elif api and what == "tree":
            self.send([entry(file, path) for file, path in listing(folder).items()])
        elif not api and what == "resolve" and (folder / name).is_file():
            self.send_file(folder / name, commit_of(repository))
        else:
            self.refuse(404, "EntryNotFound", f"Entry not found: {name}")

    def about(self, repository: str) -> dict:
        files = [{"rfilename": name} for name in listing(self.hub.origin / repository)]
        gated = "manual" if repository in self.hub.gated else False
        return {
            "_id": "0", "id": repository, "modelId": repository, "sha": commit_of(repository), "private": False,
            "gated": gated, "tags": [], "downloads": 0, "likes": 0, "siblings": files,
        }  # fmt: skip

    def send(self, content: object, status: int = 200, headers: dict | None = None) -> None:
        self.send_body(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def refuse(self, status: int, code: str, message: str) -> None:
        self.send({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})

    def send_file(self, path: Path, commit: str) -> None:
        body, name = path.read_bytes(), digest(path)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{name}"', "Accept-Ranges": "bytes"}
        if len(name) == 64:
            headers |= {"X-Linked-Size": str(len(body)), "X-Linked-ETag": f'"{name}"'}
        start, asked = 0, self.headers.get("Range")
        if asked:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            headers |= {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        self.send_body(body[start:], 206 if asked else 200, headers)

    def send_body(self, body: bytes, status: int, headers: dict) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def entry(name: str, path: Path) -> dict:
    """A file in a tree's listing."""
    size, content = path.stat().st_size, digest(path)
    entry = {"type": "file", "oid": content[:40], "size": size, "path": name}
    return entry | ({"lfs": {"oid": content, "size": size, "pointerSize": 134}} if len(content) == 64 else {})
