"""A client of one vault, written from docs/protocol.md."""

import hmac
import json
import time
from base64 import urlsafe_b64decode
from secrets import randbelow, token_bytes
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import wire
from opaque import Login, NotTheVault, WrongPassword, blind, create_record, derive_key_pair, randomize, stretch
from p256 import N
from password import prepare

STRETCHED_ZEROS = "27133a2b4d3c7e901383febd5fc882e7060ee6dbbd93e4d0309c81dcd4c2efce"


class Problem(Exception):
    """A problem document (RFC 9457); `kind` is the end of its type."""

    def __init__(self, status, document):
        self.kind = document.get("type", "").removeprefix("urn:bkv:problem:")
        self.attempts_remaining = document.get("attemptsRemaining")
        super().__init__(f"{status} {self.kind}: {document.get('detail')}")


class NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def random_scalar():
    return 1 + randbelow(N - 1)


def audiences(access_token):
    """Returns `aud` of a JWT as a list, or None if it has none."""
    payload = access_token.split(".")[1]
    aud = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).get("aud")
    return [aud] if isinstance(aud, str) else aud


class Vault:
    """One account at one vault. `pinned` is S, 33 bytes."""

    def __init__(self, url, pinned, account, access_token):
        self.url, self.pinned, self.account, self.access_token = url.rstrip("/"), pinned, account, access_token
        self.open = build_opener(NoRedirect, ProxyHandler({})).open
        self.identity = self.request("GET", "/v1/identity", authorized=False)
        if wire.decode(self.identity["serverPublicKey"]) != pinned or self.identity["wireVersion"] != 2:
            raise NotTheVault("it shows another key")
        aud = audiences(access_token)
        if aud is not None and wire.audience(pinned) not in aud:
            raise ValueError("the access token is for another vault")

    def request(self, method, path, body=None, authorized=True):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if authorized:
            headers["Authorization"] = f"Bearer {self.access_token}"
        data = None if body is None else json.dumps(body).encode()
        try:
            with self.open(Request(self.url + path, data, headers, method=method), timeout=30) as response:
                return json.loads(response.read()) if response.status == 200 else None
        except HTTPError as error:
            raise Problem(error.code, json.loads(error.read())) from None

    def try_device(self):
        """Tries Argon2id on this device before anything is sent that costs an attempt."""
        began = time.monotonic()
        if stretch(bytes(32)).hex() != STRETCHED_ZEROS:
            raise RuntimeError("this device's Argon2id is wrong")
        if time.monotonic() - began > self.identity["exchangeSeconds"]:
            raise RuntimeError("this device is too slow")

    def status(self):
        return self.request("GET", "/v1/account")

    def register(self, password, backup_key, replace=False):
        self.try_device()
        secret = prepare(password)
        export_key = self._register(secret, backup_key, replace)
        if self._recover(secret)[:2] != (backup_key, export_key):
            raise RuntimeError("the registration did not open")

    def _register(self, secret, backup_key, replace):
        scalar = random_scalar()
        blinded = blind(secret, scalar)
        share, X = derive_key_pair(token_bytes(32))
        start_key, finish_key = wire.registration_keys(share, self.pinned)
        started = self.request(
            "POST",
            "/v1/registration/start",
            {"registrationRequest": wire.encode(blinded), "keyshare": wire.encode(X)},
        )
        response, exchange = wire.decode(started["registrationResponse"]), wire.decode(started["registrationId"])
        evaluated, S = response[:33], response[33:]
        expected = wire.start_mac(start_key, S, X, self.account, exchange, blinded, evaluated, started["limit"])
        if S != self.pinned or not hmac.compare_digest(wire.decode(started["mac"]), expected):
            raise NotTheVault("its start MAC is wrong")
        record, export_key = create_record(
            randomize(secret, scalar, evaluated), token_bytes(32), S, wire.names(self.account, S)
        )
        sealed = wire.seal(export_key, token_bytes(12), backup_key)
        finish = {
            "registrationId": started["registrationId"],
            "registrationRecord": wire.encode(record),
            "encryptedBackupKey": wire.encode(sealed),
            "mac": wire.encode(wire.finish_mac(finish_key, expected, record, sealed, replace)),
        }
        if replace:
            finish["replace"] = True
        self.request("POST", "/v1/registration/finish", finish)
        return export_key

    def recover(self, password):
        """Returns the backup key, and the number of failed attempts since the last recovery."""
        self.try_device()
        backup_key, _, failed = self._recover(prepare(password))
        return backup_key, failed

    def _recover(self, secret):
        login = Login.start(secret, random_scalar(), token_bytes(32), token_bytes(32))
        started = self.request("POST", "/v1/recovery/start", {"KE1": wire.encode(login.KE1)})
        recovery = started["recoveryId"]
        try:
            KE3, export_key = login.finish(
                wire.decode(started["KE2"]), self.pinned, wire.names(self.account, self.pinned)
            )
        except WrongPassword:
            self.request("DELETE", f"/v1/recovery/{recovery}")
            raise WrongPassword(started["attemptsRemaining"]) from None
        finished = self.request("POST", "/v1/recovery/finish", {"recoveryId": recovery, "KE3": wire.encode(KE3)})
        sealed = wire.decode(finished["encryptedBackupKey"])
        return wire.open_sealed(export_key, sealed), export_key, finished["failedAttempts"]

    def change_password(self, old, new):
        prepare(new)
        backup_key, _ = self.recover(old)
        self.register(new, backup_key, replace=True)

    def delete(self):
        self.request("DELETE", "/v1/account")
