"""`chimap view` without a browser: who is answered, with what, and what is refused."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import nibabel as nib
import numpy as np
import pytest

import view_results as results
from chimap.cli import main
from chimap.io.nifti import save_volume
from chimap.viewer.catalogue import describe, read_catalogue
from chimap.viewer.server import ViewServer

CHI = f"0/fast/sub-01/ses-1/anat/{results.NAME}_Chimap.nii.gz"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    results.write(root, "fast", method="tkd")
    results.write(root, "best", shift=0.02)
    return root


@pytest.fixture
def server(out: Path) -> Iterator[ViewServer]:
    with ViewServer([out]) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def ask(
    server: ViewServer,
    path: str,
    method: str = "GET",
    host: str | None = None,
    token: str | None = None,
    **headers: str,
):
    """Status, headers and body of a request for a path behind the token."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.putrequest(
        method,
        f"/{server.token if token is None else token}/{path}",
        skip_host=True,
        skip_accept_encoding=True,
    )
    if host != "":
        connection.putheader("Host", host or "127.0.0.1")
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def volume(server: ViewServer, key: str, **headers: str):
    status, said, body = ask(server, f"volume?key={quote(key)}", **headers)
    assert status == 200
    return said, body


def test_listens_on_this_machine_only_and_every_time_elsewhere(out):
    with ViewServer([out]) as first, ViewServer([out]) as second:
        assert first.server_address[0] == "127.0.0.1"
        assert first.token != second.token
        assert len(first.token) >= 32
        assert first.url == f"http://127.0.0.1:{first.server_address[1]}/{first.token}/"


def test_the_page_and_what_it_loads(server):
    status, headers, body = ask(server, "")
    assert status == 200
    page = body.decode()
    assert "<script>" not in page and "style=" not in page and "http" not in page.split("<body>")[1]
    for name in re.findall(r'(?:src|href)="([a-z.]+\.(?:js|css))"', page):
        status, said, body = ask(server, name)
        assert status == 200 and len(body) > 500
        assert ("javascript" if name.endswith("js") else "css") in said["Content-Type"]
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["", "catalogue", f"volume?key={CHI}", "view.js"])
@pytest.mark.parametrize("token", ["", "x", "a" * 32, "%2e%2e"])
def test_nothing_without_the_token(server, path, token):
    status, _, body = ask(server, path, token=token)
    assert status == 404
    assert server.token.encode() not in body


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.org",
        "127.0.0.1.example.org",
        "example.org:80",
        "[::1",
        "0.0.0.0",
        "a@127.0.0.1",
        "127.0.0.1:x",
    ],
)
def test_other_hosts_are_refused(server, host):
    assert ask(server, "catalogue", host=host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1234"])
def test_this_machine_by_its_names_and_through_a_forwarded_port(server, host):
    assert ask(server, "catalogue", host=host)[0] == 200


def test_two_hosts_are_refused(server):
    with socket.create_connection(server.server_address[:2], timeout=10) as s:
        s.sendall(f"GET /{server.token}/ HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: example.org\r\n\r\n".encode())
        assert b" 403 " in s.recv(100)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_written(server, method):
    status, headers, _ = ask(server, f"volume?key={CHI}", method=method, Content_Length="0")
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


def test_head_is_get_without_a_body(server):
    for path in ("", "catalogue", f"volume?key={quote(CHI)}"):
        _, wanted, body = ask(server, path)
        status, headers, nothing = ask(server, path, method="HEAD")
        assert status == 200 and nothing == b"" and len(body) > 0
        assert headers["Content-Length"] == wanted["Content-Length"]


@pytest.mark.parametrize(
    "path",
    [
        "../secret.nii.gz", "..%2fsecret.nii.gz", "static/view.js", "view.js/..", "/etc/passwd", "%00", "\\..\\secret",
        "volume", "volume?key=", "volume?key=../secret.nii.gz", "volume?key=0/../secret.nii.gz", "volume?key=0/%2e%2e/secret.nii.gz",
        "volume?key=/etc/passwd", f"volume?key={CHI}%00", f"volume?key={CHI}/", f"volume?key=0/./{CHI[2:]}",
        "volume?key=0/link.nii.gz", "volume?key=0/away/secret.nii.gz", f"volume?key={CHI[:-7]}.json",
        "report?key=0/notes.html", f"report?key={CHI}", "report?key=0/../secret_report.html", "report?key=0/link_report.html",
    ],
)  # fmt: skip
def test_tricks_with_paths(out, path):
    secret = out.parent / "secret.nii.gz"
    save_volume(secret, np.ones((4, 4, 4), np.float32), np.eye(4))
    (out.parent / "secret_report.html").write_text("secret")
    (out / "notes.html").write_text("not a report")
    (out / "link.nii.gz").symlink_to(secret)
    (out / "link_report.html").symlink_to(out.parent / "secret_report.html")
    (out / "away").symlink_to(out.parent)
    with ViewServer([out]) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        status, _, body = ask(served, path)
        served.shutdown()
        thread.join()
    assert status == 404
    assert b"secret" not in body and str(out.parent).encode() not in body


def test_links_are_counted_and_those_inside_are_followed(out):
    (out / "outside.nii.gz").symlink_to("/etc/hostname")
    (out / "broken.nii.gz").symlink_to(out / "nothing.nii.gz")
    (out / "loop.nii.gz").symlink_to(out / "loop.nii.gz")
    (out / "away").symlink_to(out.parent)
    (out / "same.nii.gz").symlink_to(out / CHI[2:])
    found = read_catalogue([out])
    assert found.refused == 4
    assert "0/same.nii.gz" in found.maps


def test_names_that_are_no_text_are_left_out(out):
    name = os.fsencode(out) + b"/\xff.nii"
    try:
        Path(os.fsdecode(name)).write_bytes(b"")
    except OSError:
        pytest.skip("this file system has no such names")
    found = read_catalogue([out])
    assert found.refused == 1
    assert describe(found).encode()


def test_a_file_that_became_a_link_out_is_refused(server, out):
    target = out.parent / "secret.nii.gz"
    save_volume(target, np.ones((4, 4, 4), np.float32), np.eye(4))
    (out / CHI[2:]).unlink()
    (out / CHI[2:]).symlink_to(target)
    status, _, body = ask(server, f"volume?key={quote(CHI)}")
    assert status == 422
    assert str(out).encode() not in body


def test_the_catalogue(server):
    status, headers, body = ask(server, "catalogue")
    assert status == 200 and headers["Content-Type"] == "application/json"
    scans = json.loads(body)["scans"]
    assert [(s["name"], s["subject"], s["session"]) for s in scans] == [(results.NAME, "01", "1")] * 2
    assert [s["folder"] for s in scans] == ["out/best", "out/fast"]
    assert [s["methods"]["inversion"] for s in scans] == ["tv", "tkd"]
    assert scans[0]["reference"] == "whole brain"
    titles = {m["title"]: m["kind"] for m in scans[0]["maps"]}
    assert titles == {
        "Susceptibility": "map", "Susceptibility before referencing": "map", "R2*": "map",
        "Brain mask": "mask", "Labels": "labels",
    }  # fmt: skip


def test_new_maps_appear(server, out):
    results.write(out, "later")
    assert ask(server, f"volume?key={quote(CHI.replace('fast', 'later'))}")[0] == 404
    assert len(json.loads(ask(server, "catalogue")[2])["scans"]) == 3
    assert ask(server, f"volume?key={quote(CHI.replace('fast', 'later'))}")[0] == 200


def test_a_map_arrives_as_it_is_in_the_file(server, out):
    _, body = volume(server, CHI)
    meta, numbers = results.unpacked(body)
    data = nib.load(out / CHI[2:]).get_fdata()
    assert meta["unit"] == "ppm" and meta["shown_unit"] == "ppb" and meta["shown_scale"] == 1000
    assert meta["window"] == [-0.1, 0.2] and meta["factor"] == 1 and not meta["cut"]
    assert meta["step"] <= 2e-5
    to_voxel, to_mm = np.array(meta["to_voxel"]), np.array(meta["to_mm"])
    for index in np.ndindex(*meta["shape"]):
        voxel = tuple(np.rint(to_voxel @ (*index, 1)).astype(int))
        assert abs(numbers[index] * meta["step"] - data[voxel]) <= 0.51 * meta["step"]
        if sum(index) % 50 == 0:
            np.testing.assert_allclose(to_mm @ (*index, 1), results.AFFINE[:3] @ (*voxel, 1), atol=1e-4)
    # Axes are right, front, up.
    assert (np.diag(to_mm[:, :3]) > 0).all()


def test_gzip_where_it_is_asked_for(server):
    said, plain = volume(server, CHI)
    assert said["Content-Encoding"] is None
    said, zipped = volume(server, CHI, Accept_Encoding="gzip, deflate")
    assert said["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped) == plain
    assert len(zipped) < len(plain)


def test_masks_and_labels(server):
    meta, numbers = results.unpacked(volume(server, CHI.replace("Chimap", "desc-brain_mask"))[1])
    assert meta["kind"] == "mask" and numbers.dtype == np.uint8
    assert numbers.sum() == results.mask().sum() and numbers.max() == 1
    meta, numbers = results.unpacked(volume(server, CHI.replace("Chimap", "dseg"))[1])
    assert meta["labels"] == {"5": "right side", "7": "left side"} and meta["step"] == 1
    # Axes are right, front, up: 5 is on the patient's right.
    assert np.argwhere(numbers == 5)[:, 0].min() > np.argwhere(numbers == 7)[:, 0].max()


def test_volumes_of_a_4d_file(server, out):
    data = np.random.default_rng(1).normal(size=(6, 5, 4, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), out / "four.nii.gz")
    ask(server, "catalogue")
    for part in range(3):
        meta, numbers = results.unpacked(ask(server, f"volume?key=0/four.nii.gz&part={part}")[2])
        assert meta["volumes"] == 3 and meta["part"] == part
        np.testing.assert_allclose(numbers * meta["step"], data[..., part], atol=meta["step"])
    for wrong in ("3", "-1", "x", "1e9", "٣"):
        assert ask(server, f"volume?key=0/four.nii.gz&part={quote(wrong)}")[0] == 422


def test_files_that_are_no_images(server, out):
    (out / "text.nii.gz").write_bytes(b"no image at all")
    (out / "empty.nii").touch()
    cut = (out / CHI[2:]).read_bytes()
    (out / "cut.nii.gz").write_bytes(cut[: len(cut) // 2])
    ask(server, "catalogue")
    for name in ("text.nii.gz", "empty.nii", "cut.nii.gz"):
        status, headers, body = ask(server, f"volume?key=0/{name}")
        assert status == 422 and headers["Content-Type"] == "application/json"
        assert json.loads(body)["error"].startswith(f"{name}: ")
        assert str(out).encode() not in body


def test_reports_are_shut_in(server):
    status, headers, body = ask(server, f"report?key=0/fast/sub-01/ses-1/anat/{results.NAME}_report.html")
    assert status == 200 and b"report of a scan" in body
    policy = headers["Content-Security-Policy"]
    assert "sandbox" in policy and "allow-same-origin" not in policy and "connect-src" not in policy


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.write_text(""), lambda p: p.mkdir()])
def test_a_folder_that_is_missing_or_empty(tmp_path, capsys, make):
    make(tmp_path / "results")
    assert main(["view", str(tmp_path / "results"), "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "results") in said and "Give the folder that chimap run wrote into" in said
    assert said.count("\n") == 1


def test_ports(out, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["view", str(out), "--no-browser", "--port", str(taken.getsockname()[1])]) == 2
    assert "leave --port out" in capsys.readouterr().err
    assert main(["view", str(out), "--no-browser", "--port", "70000"]) == 2


def test_ctrl_c_ends_it_cleanly(out):
    code = "import sys; from chimap.cli import main; sys.exit(main(['view', sys.argv[1], '--no-browser']))"
    # A process that a shell started in the background would ignore the signal.
    process = subprocess.Popen(
        [sys.executable, "-c", f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {code}", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "2 scans, 10 maps\n"
        url = process.stdout.readline().split()[1]
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
        connection.request("GET", address.path)
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert errors == ""


def test_nothing_is_written(server, out):
    def state():
        return sorted((str(p), p.stat().st_mtime_ns) for p in out.rglob("*"))

    before = state()
    for path in ("", "catalogue", f"volume?key={quote(CHI)}"):
        assert ask(server, path)[0] == 200
    assert state() == before


def test_the_browser_opens_the_address(out, capsys, monkeypatch):
    opened = queue.SimpleQueue()
    monkeypatch.setattr(webbrowser, "open", opened.put)

    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(ViewServer, "serve_forever", stop)
    assert main(["view", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"open {opened.get(timeout=10)}\n" in said
    assert main(["view", str(out), "--no-browser"]) == 0
    assert opened.empty()


def test_a_missing_slash_is_added(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request("GET", f"/{server.token}")
    answer = connection.getresponse()
    assert answer.status == 308 and answer.headers["Location"] == f"/{server.token}/"
    connection.close()
