"""A small server on 127.0.0.1 that answers like a Hugging Face hub, with made-up repositories."""

import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_FILE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
_MODEL = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)(/(?P<kind>revision|tree)/(?P<revision>[^/]+))?")


class Hub:
    """Repositories by owner/name: their files, or a word for what is wrong with them."""

    def __init__(self, repositories):
        self.repositories = repositories
        self.requests = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(self))
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    @contextlib.contextmanager
    def serve(self):
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def answer(self, path, token):
        """Returns status, headers and body of a request."""
        match = _FILE.fullmatch(path) or _MODEL.fullmatch(path)
        if match is None:
            return 404, {}, b""
        files = self.repositories.get(match["repository"])
        if files is None or (files == "private" and token is None):
            return 401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b""
        if files == "gated":
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}, b""
        if files == "broken":
            return 500, {}, b""
        if files == "odd":  # what no hub answers: a description that is a list, a commit that is a path
            if match.re is _MODEL:
                return 200, {"Content-Type": "application/json"}, b"[1]"
            return 200, {"X-Repo-Commit": "../../x", "ETag": '"0"'}, b"{}"
        if match["revision"] not in (None, "main", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}, b""
        if match.re is _MODEL:
            return 200, {"Content-Type": "application/json"}, _describe(match, files)
        body = files.get(match["name"])
        if body is None:
            missing = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": COMMIT}
            return 404, missing, b""
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(body).hexdigest()}"'}, body


def _describe(match, files):
    if match["kind"] == "tree":
        rows = [{"type": "file", "path": name, "size": len(body), "oid": "0" * 40} for name, body in files.items()]
        return json.dumps(rows).encode()
    siblings = [{"rfilename": name} for name in files]
    repository = match["repository"]
    return json.dumps({"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings}).encode()


def _make_handler(hub):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(with_body=True)

        def do_HEAD(self):
            self._answer(with_body=False)

        def _answer(self, *, with_body):
            path = self.path.split("?")[0]
            hub.requests.append((self.command, path))
            status, headers, body = hub.answer(path, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler
