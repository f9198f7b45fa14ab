"""The part of a model hub's API that takes uploads, on loopback."""

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlparse

from hubs import commit_of


@contextmanager
def serve_uploads(token: str) -> Iterator[tuple[str, dict[str, dict[str, bytes]], list[dict]]]:
    """The address of a hub, the files by name of each repository that is pushed to it, and the requests to create one.

    Who has not the token is refused.
    """
    repositories: dict[str, dict[str, bytes]] = {}
    created: list[dict] = []

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, content: object, **headers: str) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            path = urlparse(self.path).path.strip("/")
            if self.headers["Authorization"] != f"Bearer {token}":
                self.answer(401, {"error": "Invalid username or password."})
            elif path == "api/repos/create":
                asked = json.loads(body)
                created.append(asked)
                name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
                repositories.setdefault(name, {})
                self.answer(200, {"url": f"http://{self.headers['Host']}/{name}"})
            elif path == "api/validate-yaml":
                self.answer(200, {"errors": [], "warnings": []})
            else:
                _, _, owner, name, verb, _ = path.split("/")
                self.take(verb, repositories[f"{owner}/{name}"], body, f"{owner}/{name}")

        def take(self, verb: str, files: dict[str, bytes], body: bytes, repository: str) -> None:
            if verb == "preupload":
                paths = [file["path"] for file in json.loads(body)["files"]]
                modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
                self.answer(200, {"files": modes})
                return
            assert verb == "commit"
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = b64decode(entry["value"]["content"])
            commit = commit_of(repository)
            address = f"http://{self.headers['Host']}/{repository}/commit/{commit}"
            self.answer(200, {"commitUrl": address, "commitOid": commit, "success": True})

        def do_GET(self) -> None:
            repository = "/".join(urlparse(self.path).path.strip("/").split("/")[2:4])
            self.answer(200, {"id": repository, "sha": commit_of(repository), "siblings": []})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", repositories, created
    finally:
        server.shutdown()
        server.server_close()
