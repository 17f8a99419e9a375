"""A client of a fleet of honest vaults, written from docs/fleet.md and docs/protocol.md. At least T vaults must answer."""

import hmac
from hashlib import sha256
from secrets import token_bytes

from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

import wire
from opaque import Login, NotTheVault, WrongPassword, blind, create_record, derive_key_pair, randomize
from p256 import G, N, add, deserialize, multiply, serialize
from password import prepare
from vault import Vault, random_scalar

PKCS8 = bytes.fromhex("3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420")


class TooFewVaults(Exception):
    pass


def deal(threshold, size):
    """Returns a random key, and its shares by their index."""
    polynomial = [random_scalar() for _ in range(threshold)]
    return polynomial[0], {i: sum(a * i**n for n, a in enumerate(polynomial)) % N for i in range(1, size + 1)}


def combine(evaluations):
    """Combines the evaluations of T vaults, by their index, to the evaluation under the key."""
    result = None
    for i, evaluated in evaluations.items():
        coefficient = 1
        for j in evaluations:
            if j != i:
                coefficient = coefficient * j * pow(j - i, -1, N) % N
        result = add(result, multiply(coefficient, deserialize(evaluated)))
    return serialize(result)


def wrap_share(secret, transport_key, share):
    key = wire.x_of_product(secret, transport_key)
    return aes_key_wrap_with_padding(key, PKCS8 + share.to_bytes(32, "big"))


class Fleet:
    """One account. `vaults` are in the order of the fleet file, each as (url, S, access token)."""

    def __init__(self, threshold, vaults, account):
        self.threshold, self.size, self.account = threshold, len(vaults), account
        self.liars = self.size - threshold
        keys = b"".join(S for _, S, _ in vaults)
        self.tag = sha256(b"bkv fleet 1" + bytes([threshold]) + keys).hexdigest()[:8]
        self.vaults = {}
        for i, (url, S, access_token) in enumerate(vaults, 1):
            try:
                self.vaults[i] = Vault(url, S, account, access_token)
            except OSError:
                continue
        if len(self.vaults) < threshold:
            raise TooFewVaults

    def held(self):
        """Returns the dealings that each vault holds, by its index."""
        return {i: vault.status().get("dealings", []) for i, vault in self.vaults.items()}

    def register(self, password, backup_key):
        secret = prepare(password)
        next(iter(self.vaults.values())).try_device()
        self._deal(secret, backup_key)

    def _deal(self, secret, backup_key):
        counts = sorted(
            (max([int(one["dealing"][:8] or "0", 16) for one in dealings], default=0) for dealings in self.held().values()),
            reverse=True,
        )
        count = (counts[self.liars] if self.liars < len(counts) else counts[-1]) + 1
        dealing = f"{count:08x}{self.tag}{token_bytes(8).hex()}"
        scalar = random_scalar()
        key, shares = deal(self.threshold, self.size)
        evaluated = serialize(multiply(key, deserialize(blind(secret, scalar))))
        randomized = randomize(secret, scalar, evaluated)
        for i, vault in self.vaults.items():
            self._share(vault, dealing, i, shares[i], randomized, backup_key)
        opened, _ = self._login(secret, dealing, set(self.vaults))
        if len(opened) < self.threshold + self.liars or set(opened.values()) != {backup_key}:
            raise TooFewVaults("not enough vaults have proven the new dealing")
        self._commit(dealing)

    def _share(self, vault, dealing, index, share, randomized, backup_key):
        S = vault.pinned
        secret, X = derive_key_pair(token_bytes(32))
        start_key, finish_key = wire.registration_keys(secret, S)
        started = vault.request(
            "POST", "/v1/share/start", {"dealing": dealing, "index": index, "keyshare": wire.encode(X)}
        )
        E, exchange = wire.decode(started["transportKey"]), wire.decode(started["registrationId"])
        expected = wire.share_start_mac(
            start_key, S, X, self.account, exchange, E, started["limit"], bytes.fromhex(dealing), index
        )
        if E[1:] in (S[1:], X[1:]) or not hmac.compare_digest(wire.decode(started["mac"]), expected):
            raise NotTheVault("its start MAC is wrong")
        record, export_key = create_record(randomized, token_bytes(32), S, wire.names(self.account, S))
        sealed = wire.seal(export_key, token_bytes(12), backup_key)
        wrapped, public_key = wrap_share(secret, E, share), serialize(multiply(share, G))
        finish = {
            "registrationId": started["registrationId"],
            "sharePublicKey": wire.encode(public_key),
            "wrappedShare": wire.encode(wrapped),
            "registrationRecord": wire.encode(record),
            "encryptedBackupKey": wire.encode(sealed),
            "mac": wire.encode(wire.finish_mac(finish_key, expected, record, sealed, False, wrapped, public_key)),
        }
        vault.request("POST", "/v1/share/finish", finish)

    def _login(self, secret, dealing, at):
        """
        Proves the password at the vaults `at`, which are at least T. Returns the backup keys by index, and the number of failed
        attempts that at least one honest vault counted before. Raises WrongPassword.
        """
        scalar = random_scalar()
        logins, started = {}, {}
        for i in at:
            logins[i] = Login.start(secret, scalar, token_bytes(32), token_bytes(32))
            message = {"KE1": wire.encode(logins[i].KE1), "dealing": dealing}
            started[i] = self.vaults[i].request("POST", "/v1/recovery/start", message)
        KE2 = {i: wire.decode(answer["KE2"]) for i, answer in started.items()}
        some = dict(list(KE2.items())[: self.threshold])
        randomized = randomize(secret, scalar, combine({i: message[:33] for i, message in some.items()}))
        proofs = {}
        for i, message in KE2.items():
            S = self.vaults[i].pinned
            try:
                proofs[i] = logins[i].open(randomized, message, S, wire.names(self.account, S))
            except WrongPassword:
                continue
        # With fewer than T, a liar among them could learn from a proof whether its own guess is right.
        if len(proofs) < self.threshold:
            for i, answer in started.items():
                self.vaults[i].request("DELETE", f"/v1/recovery/{answer['recoveryId']}")
            raise WrongPassword(min(answer["attemptsRemaining"] for answer in started.values()))
        keys, failed = {}, []
        for i, (KE3, export_key) in proofs.items():
            message = {"recoveryId": started[i]["recoveryId"], "KE3": wire.encode(KE3)}
            finished = self.vaults[i].request("POST", "/v1/recovery/finish", message)
            keys[i] = wire.open_sealed(export_key, wire.decode(finished["encryptedBackupKey"]))
            failed.append(finished["failedAttempts"])
        failed.sort(reverse=True)
        return keys, failed[self.liars] if self.liars < len(failed) else 0

    def _commit(self, dealing):
        acknowledged = 0
        for vault in self.vaults.values():
            vault.request("POST", "/v1/share/commit", {"dealing": dealing})
            acknowledged += 1
        if acknowledged < self.size - self.threshold + 1 + self.liars:
            raise TooFewVaults("the change is pending")

    def recover(self, password):
        secret = prepare(password)
        next(iter(self.vaults.values())).try_device()
        held = {i: {one["dealing"] for one in dealings} for i, dealings in self.held().items()}
        for dealing in sorted(set().union(*held.values()), reverse=True):
            holders = {i for i, dealings in held.items() if dealing in dealings}
            if dealing[8:16] == self.tag and len(holders) >= self.threshold:
                keys, failed = self._login(secret, dealing, holders)
                return next(iter(keys.values())), failed
        raise TooFewVaults

    def change_password(self, old, new):
        backup_key, _ = self.recover(old)
        self._deal(prepare(new), backup_key)

    def delete(self):
        for vault in self.vaults.values():
            vault.request("DELETE", "/v1/account")
