"""The client of OPAQUE-3DH (RFC 9807) over the OPRF of RFC 9497, P256-SHA256, as docs/protocol.md sets it up."""

import hmac
from dataclasses import dataclass
from hashlib import sha256

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from p256 import G, N, deserialize, hash_to_group, hash_to_scalar, multiply, serialize

SUITE = b"OPRFV1-\0-P256-SHA256"


def mac(key, message):
    return hmac.digest(key, message, "sha256")


def extract(salt, secret):
    return mac(salt or bytes(32), secret)


def expand(key, info, length=32):
    return HKDFExpand(SHA256(), length, info).derive(key)


def prefixed(data, size=2):
    return len(data).to_bytes(size, "big") + data


def stretch(output):
    return hash_secret_raw(output, bytes(16), time_cost=3, memory_cost=65536, parallelism=4, hash_len=32, type=Type.ID)


def blind(password, scalar):
    return serialize(multiply(scalar, hash_to_group(password, b"HashToGroup-" + SUITE)))


def finalize(password, scalar, evaluated):
    element = serialize(multiply(pow(scalar, -1, N), deserialize(evaluated)))
    return sha256(prefixed(password) + prefixed(element) + b"Finalize").digest()


def derive_key_pair(seed, info=b"OPAQUE-DeriveDiffieHellmanKeyPair"):
    """Returns the secret scalar and the public key, 33 bytes."""
    for counter in range(256):
        secret = hash_to_scalar(seed + prefixed(info) + bytes([counter]), b"DeriveKeyPair" + SUITE)
        if secret:
            return secret, serialize(multiply(secret, G))
    raise AssertionError("this has a chance of one in 2^256")


@dataclass
class Names:
    """The context and identities that envelope and transcript bind. Public keys replace identities that are None."""

    context: bytes = b""
    client: bytes = None
    server: bytes = None


def randomize(password, scalar, evaluated):
    """Returns the randomized password of RFC 9807, 32 bytes. Stretches once."""
    output = finalize(password, scalar, evaluated)
    return extract(b"", output + stretch(output))


@dataclass
class Envelope:
    masking_key: bytes
    auth_key: bytes
    export_key: bytes
    secret: int
    public_key: bytes

    @classmethod
    def of(cls, randomized, nonce):
        secret, public_key = derive_key_pair(expand(randomized, nonce + b"PrivateKey"))
        return cls(
            expand(randomized, b"MaskingKey"),
            expand(randomized, nonce + b"AuthKey"),
            expand(randomized, nonce + b"ExportKey"),
            secret,
            public_key,
        )

    def tag(self, nonce, server_public_key, names):
        server, client = names.server or server_public_key, names.client or self.public_key
        return mac(self.auth_key, nonce + server_public_key + prefixed(server) + prefixed(client))


def create_record(randomized, nonce, server_public_key, names):
    """Returns the registration record, 129 bytes, and the export key, 32 bytes."""
    keys = Envelope.of(randomized, nonce)
    envelope = nonce + keys.tag(nonce, server_public_key, names)
    return keys.public_key + keys.masking_key + envelope, keys.export_key


class WrongPassword(Exception):
    """The envelope did not open."""


class NotTheVault(Exception):
    """Whoever answered does not have the pinned key."""


@dataclass
class Login:
    """A login between KE1 and KE3."""

    password: bytes
    blind: int
    nonce: bytes
    secret: int
    KE1: bytes

    @classmethod
    def start(cls, password, scalar, nonce, seed):
        secret, keyshare = derive_key_pair(seed)
        return cls(password, scalar, nonce, secret, blind(password, scalar) + nonce + keyshare)

    def finish(self, KE2, pinned, names):
        """Returns KE3, 32 bytes, and the export key."""
        return self.open(randomize(self.password, self.blind, KE2[:33]), KE2, pinned, names)

    def open(self, randomized, KE2, pinned, names):
        masking_nonce, masked, server_nonce, keyshare, server_mac = (
            KE2[a:b] for a, b in ((33, 65), (65, 162), (162, 194), (194, 227), (227, 259))
        )
        pad = expand(expand(randomized, b"MaskingKey"), masking_nonce + b"CredentialResponsePad", 97)
        response = bytes(a ^ b for a, b in zip(masked, pad))
        server_public_key, envelope_nonce, tag = response[:33], response[33:65], response[65:]
        keys = Envelope.of(randomized, envelope_nonce)
        if not hmac.compare_digest(tag, keys.tag(envelope_nonce, server_public_key, names)):
            raise WrongPassword
        if server_public_key != pinned:
            raise NotTheVault("the record is another vault's")

        shares = ((self.secret, keyshare), (self.secret, pinned), (keys.secret, keyshare))
        shared = b"".join(serialize(multiply(scalar, deserialize(element))) for scalar, element in shares)
        preamble = (
            b"OPAQUEv1-"
            + prefixed(names.context)
            + prefixed(names.client or keys.public_key)
            + self.KE1
            + prefixed(names.server or pinned)
            + KE2[:227]
        )
        handshake = expand_label(extract(b"", shared), b"HandshakeSecret", sha256(preamble).digest())
        expected = mac(expand_label(handshake, b"ServerMAC", b""), sha256(preamble).digest())
        if not hmac.compare_digest(server_mac, expected):
            raise NotTheVault("its MAC is wrong")
        KE3 = mac(expand_label(handshake, b"ClientMAC", b""), sha256(preamble + server_mac).digest())
        return KE3, keys.export_key


def expand_label(secret, label, transcript):
    return expand(secret, b"\0\x20" + prefixed(b"OPAQUE-" + label, 1) + prefixed(transcript, 1))
