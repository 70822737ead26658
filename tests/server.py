"""A dataset server on 127.0.0.1 that behaves as badly as it is told to."""

import contextlib
import io
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


def make_archive(name: str = "facades", escape: str = "", pairs: int = 3, link: str = "") -> bytes:
    """A dataset as the Berkeley server packs it; `escape` is one more file of that name, and with
    `link` its folder is no folder but a link to there."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        folder = tarfile.TarInfo(name)
        folder.type, folder.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.DIRTYPE, "")
        folder.mode = 0o755
        tar.addfile(folder)
        names = [f"{name}/{split}/{k}.png" for split in ("train", "val") for k in range(pairs)]
        for k, file in enumerate([*names, *([escape] if escape else [])]):
            picture = io.BytesIO()
            noise = np.random.default_rng(k).integers(0, 256, (32, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(picture, "PNG")
            entry = tarfile.TarInfo(file)
            entry.size = len(picture.getvalue())
            tar.addfile(entry, io.BytesIO(picture.getvalue()))
    return buffer.getvalue()


@contextlib.contextmanager
def serving(body: bytes, behaviour: str = "good") -> Iterator[tuple[str, list[str]]]:
    """Serve `body` as facades.tar.gz; yields the base URL and the list of Range headers asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers.get("Range", ""))
            if self.path != "/facades.tar.gz":
                return self.send_error(404)
            first = 0
            if asked[-1] and behaviour == "ranges":
                first = int(asked[-1].removeprefix("bytes=").removesuffix("-"))
                if first >= len(body):
                    return self.send_error(416)
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(body) - first))
            self.end_headers()
            sent = body[first:]
            if behaviour in ("truncated", "slow"):
                sent = sent[: len(sent) // 2]
            self.wfile.write(sent)
            if behaviour == "slow":
                self.wfile.flush()
                time.sleep(3)
            return None

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
