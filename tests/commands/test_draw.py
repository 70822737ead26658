"""The server of draw: what it serves, what it translates, and what it refuses."""

import dataclasses
import http.client
import io
import socket
import threading
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import make_picture, make_run, small_task
from helpers import translated
from PIL import Image

from pix2pix.commands.draw.command import MOST_BYTES, draw
from pix2pix.commands.draw.drawings import find_drawings
from pix2pix.commands.open_run import open_run
from pix2pix.options.commands import Draw
from pix2pix.pictures.pixels import Kind
from pix2pix.pictures.sides import Side
from pix2pix.talk.errors import UserError


def ask(server, method="GET", path="/", body=None, **headers):
    """Send a request; the status, the headers and the body of the answer."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def png_of(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def test_what_is_drawn_is_translated_as_translate_does(small, tmp_path, serve):
    run = make_run(tmp_path / "run", small)
    server = serve(run)
    for name, height, width in (("own size", 32, 32), ("another", 50, 40)):
        make_picture(tmp_path / f"{name}.png", height, width)
        status, headers, content = ask(
            server, "POST", "/translate", (tmp_path / f"{name}.png").read_bytes()
        )
        assert (status, headers["Content-Type"]) == (200, "image/png")
        made = np.asarray(Image.open(io.BytesIO(content)))
        expected = translated(run, tmp_path / f"{name}.png", tmp_path / "out", batch_size=1)
        np.testing.assert_array_equal(made, expected)


def test_a_sample_is_another_one_and_always_the_same(small, tmp_path, serve):
    server = serve(make_run(tmp_path / "run", small))
    body = png_of(np.zeros((32, 32, 3), np.uint8))
    made = {k: ask(server, "POST", f"/translate?sample={k}", body)[2] for k in (0, 1, 2)}
    assert len(set(made.values())) == 3
    assert ask(server, "POST", "/translate?sample=1", body)[2] == made[1]


def test_the_page_and_its_examples(small, tmp_path, serve):
    server = serve(make_run(tmp_path / "run", small))
    status, headers, page = ask(server)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b'"examples/0.png"' in page
    assert b"http" not in page.replace(b"http://www.w3.org/2000/svg", b"")  # nothing from elsewhere
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    status, headers, example = ask(server, path="/examples/0.png")
    assert (status, Image.open(io.BytesIO(example)).size) == (200, (32, 32))
    assert ask(server, path="/examples/99.png")[0] == 404
    assert ask(server, path="/../../etc/passwd")[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_pages_of_other_sites_are_refused(small, tmp_path, serve, headers):
    server = serve(make_run(tmp_path / "run", small))
    body = png_of(np.zeros((32, 32, 3), np.uint8))
    assert ask(server, "POST", "/translate", body, **headers)[0] == 403
    own = f"http://127.0.0.1:{server.server_address[1]}"
    assert ask(server, "POST", "/translate", body, Origin=own)[0] == 200


def bomb() -> bytes:
    """A PNG of few bytes and 10¹⁰ pixels, as far as its head says."""
    image = bytearray(png_of(np.zeros((1, 1), np.uint8)))
    image[16:24] = (100_000).to_bytes(4, "big") * 2
    image[29:33] = zlib.crc32(image[12:29]).to_bytes(4, "big")
    return bytes(image)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 415, "neither a PNG nor a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", 415, "neither a PNG nor a JPEG"),
        (png_of(np.zeros((32, 32, 3), np.uint8))[:60], 422, "the picture"),
        (bomb(), 422, "pixels"),
    ],
    ids=["nothing", "another format", "half a picture", "bomb"],
)
def test_what_is_no_picture_is_refused_in_words(small, tmp_path, serve, body, status, text):
    server = serve(make_run(tmp_path / "run", small))
    answer = ask(server, "POST", "/translate", body)
    assert answer[0] == status
    assert text in answer[2].decode()
    assert "/tmp" not in answer[2].decode()


def test_too_much_is_refused_before_it_is_read(small, tmp_path, serve):
    server = serve(make_run(tmp_path / "run", small))
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        head = f"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MOST_BYTES + 1}"
        connection.sendall(f"{head}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        connection.sendall(b"POST /translate HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 411")


def test_a_picture_of_many_windows_is_refused(small, tmp_path, serve):
    server = serve(make_run(tmp_path / "run", small_task(small, "super-resolve")))
    for side, expected in ((32, 200), (64, 422)):  # windows of 8 pixels that overlap by half
        body = png_of(np.zeros((side, side, 3), np.uint8))
        status, _, content = ask(server, "POST", "/translate", body)
        assert status == expected
    assert content.decode() == "The picture has 225 windows, more than 64. Use translate."


def test_numbers_without_end_are_refused_and_the_connection_is_closed(small, tmp_path, serve):
    server = serve(make_run(tmp_path / "run", small))
    for path, length in (("/translate?sample=" + 5000 * "1", 9), ("/translate", 5000 * "1")):
        with socket.create_connection(server.server_address[:2], timeout=60) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
            connection.sendall(head.encode() + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answers = b"".join(iter(lambda: connection.recv(10_000), b""))
        assert answers.startswith(b"HTTP/1.1 4")
        assert answers.count(b"HTTP/1.1") == 1
        assert b"Connection: close" in answers


def test_only_so_many_pictures_are_in_memory(small, tmp_path, serve):
    server = serve(make_run(tmp_path / "run", small))
    body = png_of(np.zeros((32, 32, 3), np.uint8))
    server.places = threading.Semaphore(1)
    with ThreadPoolExecutor(1) as pool:
        with server.places:
            waiting = pool.submit(ask, server, "POST", "/translate", body)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
        assert waiting.result()[0] == 200
    for _ in range(2):  # a refused one leaves its place, too
        assert ask(server, "POST", "/translate", b"nonsense")[0] == 415


def test_a_hundred_connections_and_closed_ones_do_no_harm(small, tmp_path, serve):
    server = serve(make_run(tmp_path / "run", small))
    body = png_of(np.zeros((32, 32, 3), np.uint8))
    waiting = [socket.create_connection(server.server_address[:2]) for _ in range(100)]
    for connection in waiting[:50]:  # tabs that are closed before the answer comes
        head = f"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        connection.close()
    assert ask(server, "POST", "/translate", body)[0] == 200
    for connection in waiting[50:]:
        connection.close()


@pytest.mark.parametrize(
    ("task", "kind"),
    [("colorize", "photo"), ("super-resolve", "photo"), ("sketch", "sketch"), ("inpaint", "holes")],
)
def test_tools_follow_from_the_task(small, tmp_path, task, kind):
    run = make_run(tmp_path / "run", small_task(small, task))
    drawings = find_drawings(open_run(run), Draw(run))
    assert drawings.kind == kind
    side = 8 if task == "super-resolve" else 32
    assert drawings.examples[0].shape[:2] == (side, side)


@pytest.mark.parametrize("task", ["pairs", "colorize", "super-resolve", "sketch", "inpaint"])
def test_in_a_notebook_the_page_is_in_a_frame(small, tmp_path, monkeypatch, task):
    config = small if task == "pairs" else small_task(small, task)
    monkeypatch.setattr("pix2pix.commands.draw.command.in_notebook", lambda: True)
    page = draw(make_run(tmp_path / "run", config))
    assert f'src="{page.server.url}"' in page._repr_html_()
    status, headers, _ = ask(page.server)
    assert status == 200
    assert "frame-ancestors" not in headers["Content-Security-Policy"]
    page.close()


def test_a_port_that_cannot_be_had_is_said(small, tmp_path, serve):
    run = make_run(tmp_path / "run", small)
    taken = serve(run).server_address[1]
    for port in (taken, 99_999):
        with pytest.raises(UserError, match=f"--port {port}: .*Choose others"):
            draw(Draw(run, port=port, open=False))


def test_results_of_16_bits_are_sent_with_all_of_them(small, tmp_path, serve):
    kinds = Counter([(Kind(3, 8), Kind(3, 16))])
    server = serve(make_run(tmp_path / "run", small, kinds=kinds))
    status, _, content = ask(server, "POST", "/translate", png_of(np.zeros((32, 32, 3), np.uint8)))
    assert status == 200
    assert content[24] == 16  # bits of each channel, in the head of a PNG


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("numbered", [True, False])
def test_classes_are_drawn_as_the_generator_sees_them(small, tmp_path, channels, numbered):
    folder = tmp_path / "pairs"
    colours = np.uint8([[0, 0, 255], [255, 0, 0], [0, 255, 0], [255, 255, 255]])
    for k in range(4):
        numbers = np.random.default_rng(k).integers(0, 4, (4, 4)).repeat(8, 0).repeat(8, 1)
        make_picture(folder / "B" / f"{k}.png", 32, 32)
        (folder / "A").mkdir(exist_ok=True)
        pixels = numbers.astype(np.uint8) if numbered else colours[numbers]
        Image.fromarray(pixels).save(folder / "A" / f"{k}.png")
    config = dataclasses.replace(
        small, dataset=str(folder), direction="AtoB", source_channels=channels
    )
    run = make_run(tmp_path / "run", config)
    drawings = find_drawings(open_run(run), Draw(run))
    greys = range(4) if numbered else (29, 76, 150, 255)
    expected = colours.tolist() if channels == 3 and not numbered else [[k, k, k] for k in greys]
    assert sorted(each.colour for each in drawings.classes) == sorted(map(tuple, expected))
    shown = {tuple(pixel) for pixel in drawings.examples[0].reshape(-1, channels).tolist()}
    assert shown <= {tuple(colour[:channels]) for colour in expected}


def test_nobody_draws_measurements(small, tmp_path):
    kinds = Counter([(Kind(1, 16), Kind(3, 8))])
    config = dataclasses.replace(small, direction="AtoB")
    run = make_run(tmp_path / "run", config, kinds=kinds, source=Side(ranges=((0, 4000),)))
    with pytest.raises(UserError, match="nobody can draw measurements"):
        find_drawings(open_run(run), Draw(run))


def test_tools_follow_from_the_pictures(small, tmp_path):
    run = make_run(tmp_path / "run", small)  # of made-up facades, whose sources are label maps
    drawings = find_drawings(open_run(run), Draw(run))
    assert drawings.kind == "labels"
    assert 3 <= len(drawings.classes) <= 12
    colours = {each.colour for each in drawings.classes}
    assert {tuple(c) for c in drawings.examples[0].reshape(-1, 3).tolist()} <= colours


def test_a_run_whose_pictures_are_gone_has_one_example(small, tmp_path, capsys):
    config = dataclasses.replace(small, dataset=str(tmp_path / "gone"))
    run = make_run(tmp_path / "run", config)
    assert len(find_drawings(open_run(run), Draw(run)).examples) == 1
    assert "there is one example" in capsys.readouterr().out
    with pytest.raises(UserError, match="nowhere"):
        find_drawings(open_run(run), Draw(run, dataset="nowhere"))
