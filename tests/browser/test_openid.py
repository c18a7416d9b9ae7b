"""Signing in through an OpenID provider: a small one of our own stands for the organisation's."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwk, jwt
from playwright.sync_api import Browser, expect

from factory.base import people, store
from factory.base.settings import Settings
from tests.browser.conftest import free_port, start

pytestmark = [pytest.mark.browser, pytest.mark.slow]
KEY = jwk.RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
CLIENT = "workshop"


class Provider(BaseHTTPRequestHandler):
    """The four routes of the authorization code flow (OpenID Connect Core 1.0, section 3.1); everybody is Olive."""

    nonces: dict[str, str] = {}  # noqa: RUF012 - the handler is made anew for each request

    def do_GET(self) -> None:
        here, path, query = f"http://{self.headers['Host']}", urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/.well-known/openid-configuration":
            self.answer({
                "issuer": here, "authorization_endpoint": f"{here}/authorize", "token_endpoint": f"{here}/token",
                "jwks_uri": f"{here}/keys", "response_types_supported": ["code"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            })  # fmt: skip
        elif path == "/keys":
            self.answer({"keys": [KEY.as_dict(private=False)]})
        elif path == "/authorize":
            code = f"code-{len(self.nonces)}"
            self.nonces[code] = query.get("nonce", [""])[0]
            self.send_response(303)
            self.send_header(
                "Location", f"{query['redirect_uri'][0]}?{urlencode({'code': code, 'state': query['state'][0]})}"
            )
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        fields = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        now = int(time.time())
        claims = {
            "iss": f"http://{self.headers['Host']}", "sub": "olive-7", "aud": CLIENT, "iat": now, "exp": now + 600,
            "nonce": self.nonces[fields["code"][0]], "email": "olive@organisation.example", "name": "Olive Outside",
        }  # fmt: skip
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, KEY)
        self.answer({"access_token": "a", "token_type": "Bearer", "expires_in": 600, "id_token": token})

    def answer(self, body: dict[str, object]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def app_with_openid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_models: Path) -> Iterator[Settings]:
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    port = free_port()
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(
        f"""[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "{"s" * 48}"
client_id = "{CLIENT}"
client_secret = "known to both"
server_metadata_url = "http://127.0.0.1:{provider.server_port}/.well-known/openid-configuration"
"""
    )
    monkeypatch.setenv("STREAMLIT_SECRETS_FILES", str(secrets))
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(base_models)
    process, _ = start(home, port)
    yield Settings(home=home, port=port)
    process.terminate()
    process.wait(20)
    provider.shutdown()


def test_somebody_whom_the_organisation_vouches_for_gets_an_account_and_can_leave(
    browser: Browser, app_with_openid: Settings
) -> None:
    page = browser.new_context().new_page()
    page.set_default_timeout(30_000)
    page.goto(f"http://127.0.0.1:{app_with_openid.port}/")
    page.get_by_role("button", name="Sign in with your organisation").click()
    expect(page.get_by_role("heading", name="Home", exact=True)).to_be_visible(timeout=30_000)
    expect(page.get_by_text("Olive Outside")).to_be_visible()
    with store.connect(app_with_openid) as db:
        olive = people.get(db, "olive")
        assert olive.roles == {"contributor"}
    page.get_by_role("button", name="Sign out of your organisation").click()
    expect(page.get_by_role("heading", name="Sign in to go on")).to_be_visible(timeout=30_000)
