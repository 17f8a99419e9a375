"""The additions of docs/protocol.md to OPAQUE: names, the two MACs of a registration, the sealed backup key."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from opaque import Names, expand, extract, mac, prefixed
from p256 import deserialize, multiply, serialize


def encode(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def names(account, server_public_key):
    return Names(client=b"bkv2\0" + account.encode(), server=b"bkv2\0" + server_public_key)


def audience(server_public_key):
    return "bkv:" + encode(server_public_key)


def x_of_product(scalar, element):
    return serialize(multiply(scalar, deserialize(element)))[1:]


def registration_keys(secret, server_public_key):
    """Derives the keys of the start MAC and of the finish MAC from the client's key share."""
    prk = extract(b"bkv registration 2", x_of_product(secret, server_public_key))
    return expand(prk, b"start"), expand(prk, b"finish")


def fields(*values):
    return b"".join(prefixed(value) for value in values)


def start_mac(key, S, X, account, exchange, blinded, evaluated, limit):
    """The start MAC of a registration under the vault's own key."""
    own_key, named, no_index = b"\0", b"\1", b"\0"
    values = (b"\2", S, X, account.encode(), exchange, blinded, evaluated, b"", own_key, named, bytes([limit]), b"", no_index)
    return mac(key, fields(*values))


def share_start_mac(key, S, X, account, exchange, E, limit, dealing, index):
    """The start MAC of a registration of a share."""
    dealt, named = b"\1", b"\1"
    values = (b"\2", S, X, account.encode(), exchange, b"", b"", E, dealt, named, bytes([limit]), dealing, bytes([index]))
    return mac(key, fields(*values))


def finish_mac(key, started, record, sealed, replace, wrapped=b"", share_public_key=b""):
    return mac(key, fields(started, record, sealed, wrapped, share_public_key, bytes([replace])))


def key_encryption_key(export_key):
    return expand(extract(b"", export_key), b"bkv encrypted backup key v1")


def seal(export_key, nonce, backup_key):
    return nonce + AESGCM(key_encryption_key(export_key)).encrypt(nonce, backup_key, None)


class NotOurs(Exception):
    """The sealed key is not the one that this password encrypted."""


def open_sealed(export_key, sealed):
    try:
        return AESGCM(key_encryption_key(export_key)).decrypt(sealed[:12], sealed[12:], None)
    except InvalidTag as error:
        raise NotOurs from error
