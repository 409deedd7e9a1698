"""HTTPS with a certificate of one's own."""

import os
import ssl
import time
from pathlib import Path

import httpx
import pytest

from app.health import main as check_health
from app.settings import SettingError, Settings
from app.tls import check_certificate
from tests.app.certificate import make_certificate
from tests.app.raw_http import connect
from tests.app.server import FAKE, STOP_SECONDS, Server

ANSWER_SECONDS = 20
"""Less than a client has for reading, after which a connection that is stuck is closed."""


def settings(certificate: object = "", key: object = "") -> Settings:
    return Settings(tls_certificate=str(certificate), tls_key=str(key))


def test_a_certificate_and_its_key_are_two_files_or_one(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    check_certificate(settings(certificate, key))
    both = tmp_path / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    check_certificate(settings(both))
    assert settings(both).scheme == "https"


def test_what_is_no_certificate_with_its_key_is_a_wrong_setting(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    other, _ = make_certificate(tmp_path / "other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    os.mkfifo(tmp_path / "pipe")  # which would be waited for
    for given, reason in (
        (settings(certificate, tmp_path / "pipe"), "cannot be read: not a regular file"),
        (settings(tmp_path / "none.pem", key), "cannot be read: No such file"),
        (settings(certificate, tmp_path / "none.pem"), "cannot be read: No such file"),
        (settings(nonsense, key), "it is no PEM file"),
        (settings(certificate), "it is no PEM file"),
        (settings(other, key), "does not fit its key"),
    ):
        with pytest.raises(SettingError, match=reason) as error:
            check_certificate(given)
        assert error.value.name == "tls_certificate"
    with pytest.raises(SettingError, match="there is no certificate"):
        check_certificate(settings("", key))


@pytest.mark.slow
def test_the_server_speaks_https_and_takes_a_new_certificate_on_sighup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path)
    flags = [f"--tls-certificate={certificate}", f"--tls-key={key}"]
    server = Server(tmp_path / "server.log", *flags, engine=FAKE)
    server.client.close()
    server.client = client_for(server, certificate)
    with server:
        assert server.client.get("/livez").status_code == 200
        answer = server.client.get("/livez", headers={"Host": "ddpm.example.org"})
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        ready = f"Ready. Open https://127.0.0.1:{server.port}/ in a browser."
        assert ready in server.log.read_text()
        monkeypatch.setenv("DDPM_PORT", str(server.port))
        monkeypatch.setenv("DDPM_TLS_CERTIFICATE", str(certificate))
        assert check_health() == 0
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{server.port}/livez")

        key.write_text("damaged")
        server.hang_up("the certificate stays as it was")
        with client_for(server, certificate) as again:
            assert again.get("/livez").status_code == 200
        make_certificate(tmp_path, "renewed.example.org")
        server.hang_up("the certificate is read again")
        renewed = ssl.get_server_certificate(("127.0.0.1", server.port))
        assert renewed.split() == certificate.read_text().split()
        assert server.stop() == 0


@pytest.mark.slow
def test_a_connection_over_https_outlives_the_time_that_its_reader_has(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    flags = [f"--tls-certificate={certificate}", f"--tls-key={key}", "--write-seconds=1"]
    server = Server(tmp_path / "server.log", *flags, engine=FAKE)
    server.client.close()
    server.client = client_for(server, certificate)
    with (
        server,
        ssl.create_default_context(cafile=str(certificate)).wrap_socket(
            connect(server), server_hostname="127.0.0.1"
        ) as connection,
    ):
        for _ in range(3):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            while b"alive" not in connection.recv(1 << 16):
                pass
            time.sleep(0.8)


@pytest.mark.slow
def test_an_idle_connection_over_https_does_not_keep_a_stopped_server(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    flags = [f"--tls-certificate={certificate}", f"--tls-key={key}"]
    server = Server(tmp_path / "server.log", *flags, engine=FAKE)
    server.client.close()
    server.client = client_for(server, certificate)
    with server:
        assert server.client.get("/livez").status_code == 200
        server.process.terminate()
        # asyncio and uvloop wait 30 s for the client's part of the end
        assert server.process.wait(15) == 0


@pytest.mark.slow
def test_an_answer_over_https_is_sent_whole_and_waits_for_nothing_else(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    flags = [f"--tls-certificate={certificate}", f"--tls-key={key}", "--write-seconds=120"]
    server = Server(tmp_path / "server.log", *flags, engine=FAKE)
    server.client.close()
    server.client = client_for(server, certificate)
    with server:
        for path in ("/livez", "/openapi.json"):
            answer = server.client.get(path, timeout=ANSWER_SECONDS)
            assert len(answer.content) == int(answer.headers["content-length"])
        request = {"n": 64, "seed": 1, "steps": 2}
        npz = {"Accept": "application/x-npz"}
        many = server.client.post("/sample", json=request, headers=npz, timeout=ANSWER_SECONDS)
        assert many.status_code == 200


def client_for(server: Server, certificate: Path) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(certificate))
    return httpx.Client(
        base_url=f"https://127.0.0.1:{server.port}", verify=context, timeout=STOP_SECONDS
    )
