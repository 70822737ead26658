"""draw: a page on which one draws a source, and sees meanwhile what a trained run makes of it.

The server is the standard library's. It answers only pages that it has sent itself: a page of
another site that is open in the same browser cannot reach it.
"""

import base64
import hashlib
import io
import ipaddress
import re
import socket
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from image_to_image_translation import generate
from pix2pix.commands.draw.drawings import Drawings, describe_drawings, encode, find_drawings
from pix2pix.commands.open_run import TrainedRun, open_run
from pix2pix.commands.translate.translator import Job, Loaded, Translator, show_pixels
from pix2pix.options.commands import Draw, Translate
from pix2pix.pictures.picture_files import JPEG_START, PNG_START, decode_picture
from pix2pix.pictures.pixels import drop_opaque_alpha
from pix2pix.runs.pages import fill_page
from pix2pix.talk.errors import UserError, first_line
from pix2pix.talk.lines import in_notebook, say, say_row

MOST_BYTES = 2**25  # of a picture that is sent
MOST_PIXELS = 2**24  # of it
MOST_WINDOWS = 64  # that the generator makes of it, one after the other
MOST_WAITING = 8  # pictures in memory
NUMBER = re.compile(r"\d{1,9}")  # a count of bytes, or a seed
SILENCE = 30  # seconds after which a connection that says nothing is closed
HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"
POLICY = (  # of what the page may load: nothing but what it brings, and pictures from its server
    "default-src 'none'; script-src {script}; style-src {style}; img-src 'self' blob: data:; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'"
)


class RefusedError(Exception):
    """A request that is not answered: its status, and why."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


# --- A picture ------------------------------------------------------------------------------------


def translate_encoded(encoded: bytes, trained: TrainedRun, seed: int) -> bytes:
    """Turn an encoded picture into the PNG of its translation, as `translate --batch-size 1` would
    write it; with a seed, with noise."""
    options = Translate(  # with a batch of one, as nobody waits for a second picture
        trained.folder, (), batch_size=1, samples=int(seed > 0), seed=seed
    )
    translator = Translator(trained, options)
    (canvas,) = translator.generate([load_encoded(encoded, translator)])
    (pixels,) = translator.finish(canvas)
    return encode(show_pixels(pixels, trained.found.target)[0])


def load_encoded(encoded: bytes, translator: Translator) -> Loaded:
    """Load an encoded picture; refuse what is none, or too much."""
    if not encoded.startswith((PNG_START, JPEG_START)):
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "That is neither a PNG nor a JPEG.")
    try:
        pixels = decode_picture(io.BytesIO(encoded), MOST_PIXELS)
        loaded = translator.load(drop_opaque_alpha(pixels), Job(Path("drawing"), []))
    except UserError as error:
        reason = f"the picture: {error}"
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, reason) from error
    windows = len(loaded.rows) * len(loaded.columns)
    if windows > MOST_WINDOWS:
        reason = f"The picture has {windows:,} windows, more than {MOST_WINDOWS}. Use translate."
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, reason)
    return loaded


# --- The server -----------------------------------------------------------------------------------


class DrawServer(ThreadingHTTPServer):
    """Serves the page of a run, some sources to begin with, and translations."""

    daemon_threads = True
    request_queue_size = 128  # connections that may come at once

    def __init__(self, address: tuple[str, int], trained: TrainedRun, drawings: Drawings) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)
        self.trained, self.examples = trained, [encode(pixels) for pixels in drawings.examples]
        self.page = fill_page("draw.html", describe_drawings(trained, drawings))
        hashes = {tag: hash_of(tag, self.page) for tag in ("script", "style")}
        self.policy = POLICY.format(**hashes)
        if not in_notebook():  # whose page shows this one in a frame
            self.policy += "; frame-ancestors 'none'"
        self.generator_lock = threading.Lock()
        self.places = threading.Semaphore(MOST_WAITING)

    @property
    def url(self) -> str:
        """Return the address of the page; where all may see it, by the machine's name."""
        host, port = str(self.server_address[0]), self.server_address[1]
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Let a connection that breaks off, as a closed tab's does, end in silence."""


def hash_of(tag: str, page: str) -> str:
    """Return the hash by which a policy allows what stands in a page within a tag."""
    text = page.partition(f"<{tag}>")[2].rpartition(f"</{tag}>")[0]
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"  # one connection for many requests
    timeout = SILENCE
    disable_nagle_algorithm = True  # as it keeps a small answer back for 40 ms
    server: DrawServer

    def do_GET(self) -> None:
        """Send the page, or a source to begin with."""
        self.answer(self.find_file)

    def do_POST(self) -> None:
        """Translate the picture that is sent."""
        self.answer(self.translate)

    def answer(self, make_content: Callable[[], tuple[str, bytes]]) -> None:
        """Send what a method returns, its type and its bytes, or why it returns nothing."""
        try:
            self.check_sender()
            kind, content = make_content()
            status = HTTPStatus.OK
        except RefusedError as error:
            status, kind, content = error.status, TEXT, str(error).encode()
        except Exception as error:  # of a generator that runs out of memory, say
            status, kind = HTTPStatus.INTERNAL_SERVER_ERROR, TEXT
            content = first_line(error).encode()
        self.send_response(status)
        if status != HTTPStatus.OK:
            self.send_header("Connection", "close")  # as a body may not have been read
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def check_sender(self) -> None:
        """Refuse what a page of another site sends, also one whose name leads to this machine."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not is_own_name(urlsplit(f"//{host}").hostname or ""):
            raise RefusedError(HTTPStatus.FORBIDDEN, f"{host} is not this server.")
        if origin is not None and origin != f"http://{host}":
            raise RefusedError(HTTPStatus.FORBIDDEN, "Only the page of this server may ask.")

    def find_file(self) -> tuple[str, bytes]:
        """Return the page or an example, with its type."""
        path = urlsplit(self.path).path
        if path == "/":
            return HTML, self.server.page.encode()
        example = re.fullmatch(r"/examples/(\d{1,4})\.png", path)
        if example and int(example[1]) < len(self.server.examples):
            return "image/png", self.server.examples[int(example[1])]
        raise RefusedError(HTTPStatus.NOT_FOUND, "There is nothing of that name.")

    def translate(self) -> tuple[str, bytes]:
        """Translate the body of the request."""
        address = urlsplit(self.path)
        if address.path != "/translate":
            raise RefusedError(HTTPStatus.NOT_FOUND, "Pictures go to /translate.")
        length = self.headers.get("Content-Length", "")
        seed = parse_qs(address.query).get("sample", ["0"])[0]
        if not NUMBER.fullmatch(length):
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "How long is the picture?")
        if int(length) > MOST_BYTES:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            raise RefusedError(status, f"More than {MOST_BYTES:,} bytes.")
        if not NUMBER.fullmatch(seed):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "sample is a number of at most nine digits.")
        with self.server.places:
            encoded = self.rfile.read(int(length))
            with self.server.generator_lock:
                return "image/png", translate_encoded(encoded, self.server.trained, int(seed))

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def is_own_name(name: str) -> bool:
    """Tell whether a host is named by a number, as localhost or by the machine's own name: other
    names may be a trick to reach this server from a page of theirs."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        own = socket.gethostname().lower()
        return name.lower() in ("localhost", own, f"{own}.local")
    return True


# --- The command ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class DrawPage:
    """A server that goes on in the background; a notebook shows its page."""

    server: DrawServer

    def _repr_html_(self) -> str:
        """Show the page in a frame."""
        return (
            f'<iframe src="{self.server.url}" width="100%" height="760" style="border: 0" '
            'allow="camera; clipboard-write"></iframe>'
        )

    def close(self) -> None:
        """End the server."""
        self.server.shutdown()
        self.server.server_close()


def draw(options: Draw | str | Path) -> DrawPage | None:
    """Serve the page of a run until Ctrl-C; in a notebook, return at once with the page."""
    if not isinstance(options, Draw):
        options = Draw(Path(options))
    trained = open_run(options.run)
    drawings = find_drawings(trained, options)
    try:
        server = DrawServer((options.host, options.port), trained, drawings)
    except (OSError, OverflowError) as error:  # the latter of a port that is no port
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        raise UserError(
            f"--host {options.host} --port {options.port}: {reason}. Choose others."
        ) from error
    generate(trained.generator, trained.example)  # so that the first drawing need not wait
    if in_notebook():
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return DrawPage(server)
    say_row("Drawing", f"{server.url} (Ctrl-C ends it)")
    if options.open:  # beside the server, as a browser in the terminal waits for its answer
        threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("Ended.")
    finally:
        server.server_close()
    return None
