"""A MONAI Label server as a process of its own, asked through its REST API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

START_S, ANSWER_S, TASK_S = 120, 300, 300  # on two busy cores


class Server:
    """A server on a free port of 127.0.0.1; use it in a ``with`` statement, which always ends it.

    Args:
        app: folder of the app ``monaibundle``, with bundles in ``model``.
        studies: folder of images, with their labels in ``labels/final``.
        models: bundles to load.
        options: further ``--conf`` names and values.
    """

    def __init__(self, app: Path, studies: Path, models: list[str], **options: object) -> None:
        conf = {"models": ",".join(models), "zoo_source": "local", **options}
        self.log = studies / "server.log"
        self.port = _free_port()
        self.command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app)]
        self.command += ["--studies", str(studies), "--host", "127.0.0.1", "--port", str(self.port)]
        self.command += [word for name, value in conf.items() for word in ("--conf", name, str(value))]

    def __enter__(self) -> Server:
        """Start the server and wait until it answers."""
        # scoring starts by itself else; nothing of the repository may be importable
        env = {**os.environ, "MONAI_LABEL_AUTO_UPDATE_SCORING": "false", "PYTHONPATH": ""}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.log.parent, env=env, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + START_S
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise AssertionError(f"the server did not start; its log ends:\n{self.log_end()}")
            time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        """End the server and what it started."""
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(10)
        with suppress(ProcessLookupError):  # a training that goes on
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def get(self, path: str) -> Any:
        """Return the answer to a GET request, from JSON."""
        return json.loads(self._ask(Request(self._url(path))))

    def infer(self, model: str, image: str, folder: Path, **params: object) -> Path:
        """Segment an image of the studies; return the mask's file, of the image's kind unless ``params`` say else."""
        body = urlencode({"params": json.dumps({"device": "cpu", **params})}).encode()
        request = Request(self._url(f"infer/{model}?image={image}&output=image"), body)
        with self._open(request) as answer:
            path = folder / answer.headers.get_filename()
            path.write_bytes(answer.read())
        return path

    def run(self, kind: str, name: str, **params: object) -> list[str]:
        """Run a task, ``train`` or ``scoring``, to its end, and return what it printed.

        Raises:
            AssertionError: If it fails or takes too long.
        """
        body = json.dumps({"device": "cpu", **params}).encode()
        self._ask(Request(self._url(f"{kind}/{name}"), body, {"Content-Type": "application/json"}))
        end = time.monotonic() + TASK_S
        while (task := self.get(f"{kind}/"))["status"] in {"SUBMITTED", "RUNNING"} and time.monotonic() < end:
            time.sleep(1)
        details: list[str] = task["details"]
        assert task["status"] == "DONE", "\n".join([f"{kind} {name}: {task['status']}", *details[-40:]])
        return details

    def log_end(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-60:])

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def _ask(self, request: Request) -> bytes:
        with self._open(request) as answer:
            content: bytes = answer.read()
            return content

    def _open(self, request: Request) -> Any:
        """Send a request; what the server refuses is an assertion that shows its log."""
        try:
            return urlopen(request, timeout=ANSWER_S)
        except HTTPError as error:
            raise AssertionError(f"{request.full_url}: {error}; the log ends:\n{self.log_end()}") from error


def _free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port
