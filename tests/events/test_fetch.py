"""Published events, from a server on this machine that answers as gwosc.org does."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from click.testing import CliRunner
from strain_files import TGPS, write_gwosc

from dotpe_exec.cli import main
from dotpe_exec.errors import EventError, InputError
from dotpe_exec.events import event_from_strain, fetch_event, fetch_strain, load_event


class Center:
    """The few endpoints that are used, over files of white noise.

    ``breaks_after`` ends each answer with a file after so many bytes; ``requests`` are the
    paths asked for, with the range.
    """

    def __init__(self, folder, detectors="HL", **strain):
        self.files = {
            path.name: path.read_bytes()
            for path in (write_gwosc(folder, one, **strain) for one in detectors)
        }
        self.breaks_after = None
        self.requests = []
        center = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                center.answer(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler):
        path, _, query = handler.path.partition("?")
        self.requests.append((path, handler.headers.get("Range")))
        if path == "/api/v2/event-versions/GW000001":
            self.send_json(handler, {"name": "GW000001", "gps": TGPS, "run": "O9"})
        elif path == "/api/v2/event-versions/GW000001/strain-files":
            found = [] if "duration=4096" in query else list(self.files)
            results = [{"download_url": f"{self.host}/data/{name}"} for name in found]
            self.send_json(handler, {"num_pages": 1, "next": None, "results": results})
        elif path == "/api/v2/runs/O9/strain-files":
            self.send_json(handler, {"num_pages": 1, "next": None, "results": []})
        elif path.removeprefix("/data/") in self.files:
            self.send_file(handler, self.files[path.removeprefix("/data/")])
        else:
            handler.send_error(404)

    def send_json(self, handler, value):
        content = json.dumps(value).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def send_file(self, handler, content):
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        start = 0
        asked = handler.headers.get("Range")
        if asked and handler.headers.get("If-Range") == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.send_header("ETag", etag)
        handler.end_headers()
        stop = None if self.breaks_after is None else start + self.breaks_after
        handler.wfile.write(content[start:stop])
        if stop is not None and stop < len(content):
            handler.close_connection = True
            handler.connection.close()

    def downloads(self):
        return [request for request in self.requests if request[0].startswith("/data/")]


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Start a center; its addresses are new each time, so nothing is remembered."""
    centers = []

    def start(**settings):
        folder = tmp_path / f"served_{len(centers)}"
        folder.mkdir()
        centers.append(Center(folder, **settings))
        monkeypatch.setenv("GWOSC_SERVER_URL", centers[-1].host)
        return centers[-1]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield start
    for center in centers:
        center.close()


def test_event_is_that_of_the_files(serve, tmp_path):
    center = serve()
    fetched = fetch_event("GW000001", duration=32)
    made = event_from_strain(
        [tmp_path / "served_0" / name for name in center.files], "x", tgps=TGPS
    )
    assert fetched.eventname == "GW000001"
    assert fetched.detector_names == ("H", "L")
    assert fetched.tgps == TGPS
    np.testing.assert_array_equal(fetched.strain, made.strain)


def test_second_time_needs_no_network(serve):
    center = serve()
    first = fetch_event("GW000001", duration=32)
    center.close()
    n_requests = len(center.requests)
    again = fetch_event("GW000001", "H1,L1", duration=32)
    assert len(center.requests) == n_requests
    np.testing.assert_array_equal(first.strain, again.strain)


def test_other_length_is_taken_where_one_is_not_published(serve):
    serve()
    assert set(fetch_strain("GW000001", duration=4096).files) == {"H", "L"}


def test_files_are_kept_by_their_content(serve):
    center = serve(detectors="H")
    (path,) = fetch_strain("GW000001", duration=32).files.values()
    (content,) = center.files.values()
    assert path.stem == hashlib.sha256(content).hexdigest()
    assert path.read_bytes() == content


def test_damaged_file_is_fetched_again(serve):
    center = serve(detectors="H")
    (path,) = fetch_strain("GW000001", duration=32).files.values()
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + 100 * b"x")
    (again,) = fetch_strain("GW000001", duration=32).files.values()
    assert again.read_bytes() == whole
    assert len(center.downloads()) == 2


def test_broken_download_goes_on_where_it_ended(serve):
    center = serve(detectors="H")
    center.breaks_after = 100_000
    (path,) = fetch_strain("GW000001", duration=32).files.values()
    (content,) = center.files.values()
    assert path.read_bytes() == content
    ranges = [asked for _, asked in center.downloads()]
    starts = [int(one.removeprefix("bytes=").rstrip("-")) for one in ranges[1:]]
    assert ranges[0] is None and len(starts) >= 2
    assert all(np.diff([0, *starts, len(content)]) > 50_000)


def test_next_attempt_goes_on_as_well(serve):
    center = serve(detectors="H")
    pieces = []  # a server that sends a first piece and then nothing
    send_file = center.send_file

    def one_piece(handler, content):
        center.breaks_after = 0 if pieces else 100_000
        pieces.append(handler)
        send_file(handler, content)

    center.send_file = one_piece
    with pytest.raises(EventError, match=r"[1-9]\d+ bytes are kept"):
        fetch_strain("GW000001", duration=32)
    center.send_file, center.breaks_after = send_file, None
    (path,) = fetch_strain("GW000001", duration=32).files.values()
    assert path.read_bytes() == next(iter(center.files.values()))
    assert center.downloads()[-1][1].startswith("bytes=")


def test_file_that_changed_meanwhile_is_fetched_whole(serve, tmp_path):
    center = serve(detectors="H")
    center.breaks_after = 100_000
    send_file, (name,) = center.send_file, list(center.files)

    def once(handler, content):
        send_file(handler, content)
        center.files[name] = content[::-1]
        center.breaks_after, center.send_file = None, send_file

    center.send_file = once
    changed = center.files[name][::-1]
    cache = fetch_file(center, name, tmp_path)
    assert cache.read_bytes() == changed


def fetch_file(center, name, tmp_path):
    from dotpe_exec.events.downloads import DownloadCache

    cache = DownloadCache(tmp_path / "files")
    return cache.fetch(f"{center.host}/data/{name}", lambda *_: None)


def test_detector_without_data_at_the_event_is_left_out(serve, tmp_path):
    center = serve()
    gap = write_gwosc(tmp_path, "V", gap=(16, 17))
    center.files[gap.name] = gap.read_bytes()
    assert set(fetch_strain("GW000001", duration=32).files) == {"H", "L"}
    with pytest.raises(EventError, match="gap"):
        fetch_event("GW000001", "HLV", duration=32)


def test_unknown_event_and_detector_are_named(serve):
    center = serve(detectors="H")
    with pytest.raises(EventError, match=f"{center.host} knows no event 'GW999999'"):
        fetch_event("GW999999")
    with pytest.raises(EventError, match="no public strain of detector V"):
        fetch_event("GW000001", "V1", duration=32)
    with pytest.raises(InputError, match="duration is 64"):
        fetch_event("GW000001", duration=64)
    with pytest.raises(EventError, match="name"):
        fetch_event("../GW000001")


def test_without_network_there_is_one_sentence(serve, tmp_path):
    center = serve()
    center.close()
    done = CliRunner().invoke(main, ["event", "fetch", "GW000001", str(tmp_path / "x.npz")])
    assert done.exit_code == 2
    assert "cannot be reached to fetch GW000001 (connection refused)" in done.output
    assert done.output.count("\n") == 1
    assert not (tmp_path / "x.npz").exists()


def test_command_writes_the_event(serve, tmp_path):
    serve()
    path = tmp_path / "GW000001.npz"
    command = ["event", "fetch", "GW000001", str(path), "--duration", "32", "--fmax", "256"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert load_event(path).fbounds[1] == 256
