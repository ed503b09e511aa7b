"""The live page: who may read it, what it answers, and how it follows a run."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from mpitrain.cli.main import main
from mpitrain.errors import UserError
from mpitrain.pages import serve
from mpitrain.pages.run import Run
from mpitrain.pages.serve import LivePage, LiveServer
from tests.run_files import START, evaluation, lines, serving, write_run


def ask(server, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


def test_the_page_follows_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "PAUSE", 0.0)
    path = tmp_path / "<run>"
    with serving(path) as server:
        assert server.url == f"http://127.0.0.1:{server.server_address[1]}/"
        answer, body = ask(server)
        assert answer.status == 200
        assert "<h1>&lt;run&gt;</h1>" in body
        assert "There is no such directory now." in body
        nonce = re.search(r"script-src 'nonce-([\w-]+)'; connect-src 'self'", body)[1]
        assert re.findall("<script(.*?)>", body) == [f' nonce="{nonce}"']
        assert nonce not in ask(server)[1]

        write_run(path, report=None, examples=None, events=[START], steps=9)
        answer, body = ask(server, "/content")
        tag = answer.headers["ETag"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert "started on 3 ranks" in body
        assert "<html" not in body
        again, nothing = ask(server, "/content", If_None_Match=tag)
        assert (again.status, nothing) == (304, "")
        with open(path / "metrics.jsonl", "a") as file:
            file.write(lines([evaluation(10)]) + '{"kind": "ep')
        changed, body = ask(server, "/content", If_None_Match=tag)
        assert changed.status == 200
        assert "loss 0.4, accuracy 60.00%" in body
        assert changed.headers["ETag"] != tag
        assert ask(server, method="HEAD")[1] == ""


def test_no_file_is_served(tmp_path):
    (tmp_path / "secret").write_text("secret")
    with serving(write_run(tmp_path / "run")) as server:
        for path in (
            "/secret",
            "/../secret",
            "/%2e%2e/secret",
            "//secret",
            "/run/config.toml",
            "/content/../../secret",
        ):
            answer, body = ask(server, path)
            assert (answer.status, body) == (404, "There is no such page.\n")
        with socket.create_connection(server.server_address) as browser:
            browser.sendall(b"GET http://[x/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert browser.recv(1000).startswith(b"HTTP/1.0 400 ")
        assert ask(server, method="POST")[0].status == 501


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_other_names_of_this_host_are_refused(tmp_path, host):
    """A page of evil.example, whose name is made to mean 127.0.0.1, would be of the same origin (DNS rebinding)."""
    with serving(write_run(tmp_path / "run")) as server:
        for path in ("/", "/content"):
            answer, body = ask(server, path, Host=host)
            assert (answer.status, body) == (403, "This page is for localhost only.\n")
        for own in ("localhost", "localhost:9", "127.0.0.1:9", "[::1]:80"):  # the port may be that of a tunnel
            assert ask(server, Host=own)[0].status == 200


@pytest.mark.parametrize(("host", "options"), [("0.0.0.0", {}), ("127.0.0.1", {"with_token": True})])
def test_a_token_is_asked_for(tmp_path, host, options):
    with serving(write_run(tmp_path / "run"), host, **options) as server:
        assert len(server.token) >= 32
        query = server.url.partition("?")[2]
        assert query == f"token={server.token}"
        for wrong in ("/", "/content", "/?token=", f"/?token={server.token[:-1]}", "/?token=%ff%00", f"/?{query}x"):
            answer, body = ask(server, wrong)
            assert answer.status == 403
            assert "Results" not in body
        for right in (f"/?{query}", f"/content?{query}"):
            answer, body = ask(server, right, Host="any.example")
            assert answer.status == 200
            assert "Results" in body
        assert server.token not in body


def test_a_port_in_use_and_a_wrong_host(tmp_path, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["watch", str(tmp_path), "--port", str(port)]) == 2
    err = capsys.readouterr().err
    assert (
        err == f"mpitrain: cannot listen at localhost, port {port}: Address already in use; --port 0 takes a free one\n"
    )
    with pytest.raises(UserError, match=r"^cannot listen at 203\.0\.113\.7, port 0: "):
        LiveServer(LivePage(Run(tmp_path)), "203.0.113.7", 0)
    (tmp_path / "file").write_text("")
    assert main(["watch", str(tmp_path / "file")]) == 2
    assert main(["watch", str(tmp_path), "--port", "70000"]) == 2
    assert "--port is 70000, but must be from 0 to 65535" in capsys.readouterr().err


def test_ctrl_c_ends_it(tmp_path):
    command = [sys.executable, "-m", "mpitrain", "watch", "none", "--port", "0"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TERM": "dumb"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # tests may run in the background
    )
    try:
        said = process.stdout.readline()
        assert re.fullmatch(r"http://localhost:\d+/ shows none; Ctrl-C ends\n", said)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_several_browsers_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "PAUSE", 0.0)
    path = write_run(tmp_path / "run", steps=9)
    with serving(path) as server:
        bodies = []

        def browse():
            bodies.extend(ask(server, "/content")[1] for _ in range(5))

        threads = [threading.Thread(target=browse) for _ in range(6)]
        for thread in threads:
            thread.start()
        for step in (10, 20, 30):
            with open(path / "metrics.jsonl", "a") as file:
                file.write(json.dumps(evaluation(step)) + "\n")
        for thread in threads:
            thread.join()
        assert len(bodies) == 30
        assert all("<h2>Results</h2>" in body and body.endswith("</section>") for body in bodies)
        assert "4 evaluations" not in ask(server, "/content")[1]
        assert "3 evaluations of run" in ask(server, "/content")[1]
