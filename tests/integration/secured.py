"""Apache Kafka behind TLS, SCRAM and OAUTHBEARER, and who issues certificates and tokens, all on loopback.

Holds: :class:`Authority` (a certificate for 127.0.0.1), :class:`TokenServer` (an OAuth token endpoint with the
client-credentials grant, RS256) and :func:`secured_kafka`. Keep out what is tested with them.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import servers
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

VALIDATOR = "OAuthBearerValidatorCallbackHandler"
AUDIENCE, ISSUER, KEY_ID = "kafka", "https://issuer.invalid", "1"


class Authority:
    """A self-signed certificate of 127.0.0.1.

    Attributes
    ----------
    certificate, chain_and_key : pathlib.Path
        PEM files: for clients to trust, for a server to show.
    """

    def __init__(self, folder: Path, name: str = "loopback") -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = (
            x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=12))
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
        self.certificate, self.chain_and_key = folder / f"{name}.pem", folder / f"{name}-server.pem"
        self.certificate.write_bytes(made)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.chain_and_key.write_bytes(private + made)


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class TokenServer:
    """Issues tokens to whoever knows the secret; its public key lies in a file (JWKS).

    Attributes
    ----------
    audience : str
        Whom the next tokens are for.
    """

    def __init__(self, folder: Path) -> None:
        self.client, self.secret, self.audience = "hwosim", secrets.token_hex(12), AUDIENCE
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        said = {"kty": "RSA", "kid": KEY_ID, "use": "sig", "alg": "RS256"}
        said |= {"n": _base64(numbers.n.to_bytes(256)), "e": _base64(numbers.e.to_bytes(3))}
        self.jwks = folder / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": [said]}))

    def token(self) -> str:
        """Return a token of ten minutes."""
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": self.client, "aud": self.audience, "iat": now, "exp": now + 600}
        parts = ({"alg": "RS256", "typ": "JWT", "kid": KEY_ID}, {**claims, "scope": "stream"})
        body = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{body}.{_base64(self._key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve while the block runs; yields the address of the token endpoint."""
        known = base64.b64encode(f"{self.client}:{self.secret}".encode()).decode()
        issue = self.token

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                right = self.headers.get("Authorization", "") == f"Basic {known}"
                said: dict[str, Any] = {"access_token": issue(), "token_type": "Bearer", "expires_in": 600}
                body = json.dumps(said if right else {"error": "invalid_client"}).encode()
                self.send_response(200 if right else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_said: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token"
        finally:
            server.shutdown()
            server.server_close()


@dataclass(frozen=True)
class Secured:
    """Apache Kafka whose listeners ask who one is.

    Attributes
    ----------
    servers : str
        Behind TLS, with SCRAM-SHA-512 and OAUTHBEARER.
    encrypted : str
        Behind TLS alone.
    password : str
        Of the user ``hwosim`` in SCRAM.
    authority : Authority
        Its certificate.
    tokens : TokenServer
        Whose tokens it takes.
    """

    servers: str
    encrypted: str
    password: str
    authority: Authority
    tokens: TokenServer


@contextmanager
def secured_kafka(folder: Path) -> Iterator[Secured]:
    """Run it while the block runs."""
    data = folder / "broker"
    data.mkdir()
    authority, tokens, password = Authority(folder), TokenServer(folder), secrets.token_hex(12)
    safe, encrypted = (f"127.0.0.1:{port}" for port in servers.free_ports(2))
    safely, jaas = "listener.name.safe", "org.apache.kafka.common.security"
    protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LINE:PLAINTEXT"
    more = [
        f"listener.security.protocol.map={protocols},SASL_PLAINTEXT:SASL_PLAINTEXT,SAFE:SASL_SSL,ENCRYPTED:SSL",
        f"{safely}.sasl.enabled.mechanisms=SCRAM-SHA-512,OAUTHBEARER",
        "ssl.keystore.type=PEM",
        f"ssl.keystore.location={authority.chain_and_key}",
        f"{safely}.scram-sha-512.sasl.jaas.config={jaas}.scram.ScramLoginModule required;",
        f"{safely}.oauthbearer.sasl.jaas.config={jaas}.oauthbearer.OAuthBearerLoginModule required;",
        f"{safely}.oauthbearer.sasl.server.callback.handler.class={jaas}.oauthbearer.{VALIDATOR}",
        f"{safely}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={tokens.jwks.as_uri()}",
        f"{safely}.oauthbearer.sasl.oauthbearer.expected.audience={AUDIENCE}",
        f"{safely}.oauthbearer.sasl.oauthbearer.expected.issuer={ISSUER}",
    ]
    user = ["--add-scram", f"SCRAM-SHA-512=[name=hwosim,password={password}]"]
    allowed = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={tokens.jwks.as_uri()}"]
    with servers.Kafka(data, [f"SAFE://{safe}", f"ENCRYPTED://{encrypted}"], more, user, allowed).started():
        yield Secured(safe, encrypted, password, authority, tokens)
