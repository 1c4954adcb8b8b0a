"""
Tokens for one identity: the managed identity endpoint of this laptop issues them, every other address checks them.

They are signed with a key in the data folder, so a token survives a restart of the emulator and nobody else's token passes. Their
end is a matter of the laptop's clock, because clients hold it against theirs; where this cloud's clock is moved by hand they never end.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import processes
from localcloud.azureml import site as sites
from localcloud.azureml.routes import Call, Route
from localcloud.azureml.shapes import queries
from localcloud.azureml.wire import Refused, Request, Response, answer
from localcloud.chance import Chance
from localcloud.clocks import MANUAL_START, ManualClock

if TYPE_CHECKING:
    from localcloud.azureml.site import Site

LIFETIME = timedelta(hours=24)  # as Azure's managed identities
IDENTITY_HEADER = "local"  # what IDENTITY_HEADER must say; not a secret on a loopback address
MACHINE_LEARNING = "https://ml.azure.com"
RESOURCE_MANAGERS = ("https://management.azure.com", "https://management.core.windows.net")
NEVER = datetime(2100, 1, 1, tzinfo=UTC)  # the end of a token where the clock is moved by hand
KNOWN_MAX = 1_000  # tokens whose signature is remembered; a client asks for one a day and audience
KEY_BYTES = 32
IDENTITY_VERSIONS = frozenset({"2019-08-01"})  # App Service; azure-identity 1.27 sends this one


class Tokens:
    """Issues and checks bearer tokens."""

    def __init__(self, site: Site, key: str) -> None:
        self.site = site
        self._key = key
        self._known: dict[str, tuple[float, str]] = {}  # token of ours -> its end and audience

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/msi/token",
                handler=self._managed_identity,
                versions=IDENTITY_VERSIONS,
                signed=False,
                query=queries.IDENTITY,
                does="a token, as App Service gives it to a managed identity",
                differs="anybody gets one; it may do everything",
            )
        ]

    def issue(self, audience: str) -> tuple[str, int]:
        """Return a token for `audience` and the second at which it ends."""
        import jwt

        by_hand = isinstance(self.site.clock, ManualClock)
        now = int((MANUAL_START if by_hand else self.site.clock()).timestamp())
        ends = int(NEVER.timestamp()) if by_hand else now + int(LIFETIME.total_seconds())
        claims = {"aud": audience, "iss": f"{self.site.base}/{sites.TENANT}/", "iat": now, "nbf": now, "exp": ends}
        claims |= {"oid": sites.PRINCIPAL, "sub": sites.PRINCIPAL, "tid": sites.TENANT, "appid": sites.PRINCIPAL}
        return jwt.encode(claims, self._key, algorithm="HS256"), ends

    def check_management(self, request: Request) -> None:
        """Refuse a request to Azure Resource Manager, run history or MLflow without a token for one of them."""
        self.check(request, (self.site.base, *RESOURCE_MANAGERS, MACHINE_LEARNING))

    def check(self, request: Request, audiences: tuple[str, ...]) -> None:
        """Refuse a request whose bearer token is missing, foreign, too old, or meant for somebody else."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refused(401, "AuthenticationFailed", "The request carries no bearer token; ask the address in IDENTITY_ENDPOINT.")
        ends, audience = self._known.get(token) or self._read(token)
        if ends <= self.site.clock().timestamp():
            raise Refused(401, "ExpiredAuthenticationToken", "The access token has expired; ask for a new one.")
        if audience.rstrip("/") not in audiences:
            wanted = " or ".join(audiences)
            message = f"The access token is for '{audience}'; this address wants one for {wanted}."
            raise Refused(401, "InvalidAuthenticationTokenAudience", message)

    def _read(self, token: str) -> tuple[float, str]:
        """Return end and audience of a token of ours; refuse any other."""
        import jwt

        try:  # the end and the audience are checked by whoever asks: by our clock, and with or without the slash at the end
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
            )
        except jwt.PyJWTError:
            message = "The token was not issued by this local cloud; ask the address in IDENTITY_ENDPOINT."
            raise Refused(401, "InvalidAuthenticationToken", message) from None
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[token] = float(claims["exp"]), str(claims["aud"])
        return self._known[token]

    def _managed_identity(self, call: Call) -> Response:
        if call.request.headers.get("x-identity-header") != IDENTITY_HEADER:
            message = f"The header X-IDENTITY-HEADER is missing or wrong; set IDENTITY_HEADER={IDENTITY_HEADER}."
            raise Refused(401, "Unauthorized", message)
        resource = call.request.query.get("resource")
        if not resource:
            raise Refused(400, "BadRequest", "The query names no resource; add &resource=<audience>.")
        token, ends = self.issue(resource)
        body = {"access_token": token, "expires_on": str(ends), "resource": resource, "token_type": "Bearer"}
        return answer(body | {"client_id": sites.PRINCIPAL})


def signing_key(folder: Path, chance: Chance | None = None) -> str:
    """
    Return the key in `folder`; make it if there is none. Readable by its owner only. `chance` with a seed: two runs have one key.

    Raise ValueError for a file that is no key.
    """
    path = folder / "token.key"
    if not path.exists():
        made = chance.token(KEY_BYTES) if chance is not None else secrets.token_hex(KEY_BYTES)
        processes.write_atomically(path, made, mode=0o600)
    key = path.read_bytes()
    if len(key) < KEY_BYTES or not key.isascii():
        raise ValueError(f"The file {path} is no key; delete it, and a new one is made: tokens that clients hold end with the old one.")
    return key.decode()
