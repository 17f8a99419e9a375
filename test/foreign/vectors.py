"""Runs test/vectors through this client."""

import json

import fleet
import password
import wire
from opaque import Login, NotTheVault, WrongPassword, blind, create_record, derive_key_pair, randomize, stretch
from p256 import G, deserialize, multiply, serialize


def load(name):
    return json.loads((password.VECTORS / name).read_text())


def number(text):
    return int(text, 16)


def check_passwords():
    vectors = load("password.json")
    for vector in vectors["taken"]:
        assert password.prepare(vector["typed"]).hex() == vector["prepared"], vector
    for vector in vectors["refused"]:
        try:
            password.prepare(vector["typed"])
        except password.Refused as refused:
            assert refused.code == vector["code"], vector
        else:
            raise AssertionError(vector)


def check_stretching():
    for vector in load("stretching.json"):
        assert stretch(bytes.fromhex(vector["input"])).hex() == vector["output"]


def started(account, change):
    """Returns the start MAC that a client expects, and the received one."""
    vector = {**account["registration"], "account": account["account"], "mac": account["registration"]["startMac"]}
    vector |= change
    S, response = bytes.fromhex(account["vault"]["serverPublicKey"]), bytes.fromhex(vector["registrationResponse"])
    start_key, _ = wire.registration_keys(number(vector["keyshareSecret"]), S)
    expected = wire.start_mac(
        start_key,
        response[33:],
        bytes.fromhex(vector["keyshare"]),
        vector["account"],
        bytes.fromhex(vector["registrationId"]),
        bytes.fromhex(vector["registrationRequest"]),
        response[:33],
        vector["limit"],
    )
    return expected.hex(), vector["mac"]


def check_registration(account):
    vector, S = account["registration"], bytes.fromhex(account["vault"]["serverPublicKey"])
    secret = password.prepare(account["password"])
    assert wire.audience(S) == account["vault"]["audience"]
    names = wire.names(account["account"], S)
    assert {"clientIdentity": names.client.hex(), "serverIdentity": names.server.hex()} == account["names"]
    assert blind(secret, number(vector["blind"])).hex() == vector["registrationRequest"]
    assert serialize(multiply(number(vector["keyshareSecret"]), G)).hex() == vector["keyshare"]
    keys = wire.registration_keys(number(vector["keyshareSecret"]), S)
    assert [key.hex() for key in keys] == [vector["startKey"], vector["finishKey"]]
    expected, came = started(account, {})
    assert expected == came
    randomized = randomize(secret, number(vector["blind"]), bytes.fromhex(vector["registrationResponse"])[:33])
    assert randomized.hex() == vector["randomizedPassword"]
    record, export_key = create_record(randomized, bytes.fromhex(vector["envelopeNonce"]), S, names)
    assert [record.hex(), export_key.hex()] == [vector["registrationRecord"], vector["exportKey"]]
    assert wire.key_encryption_key(export_key).hex() == vector["keyEncryptionKey"]
    sealed = wire.seal(export_key, bytes.fromhex(vector["nonce"]), bytes.fromhex(account["backupKey"]))
    assert sealed.hex() == vector["encryptedBackupKey"]
    for replace, name in ((False, "finishMac"), (True, "finishMacReplacing")):
        assert wire.finish_mac(keys[1], bytes.fromhex(came), record, sealed, replace).hex() == vector[name]
    return randomized, export_key


def login(account, change):
    vector = {**account["recovery"], "account": account["account"]} | change
    S = bytes.fromhex(account["vault"]["serverPublicKey"])
    client = Login.start(
        password.prepare(account["password"]),
        number(vector["blind"]),
        bytes.fromhex(vector["clientNonce"]),
        bytes.fromhex(vector["keyshareSeed"]),
    )
    assert client.KE1.hex() == vector["KE1"]
    return client, bytes.fromhex(vector["KE2"]), S, wire.names(vector["account"], S)


def check_recovery(account, export_key):
    client, KE2, S, names = login(account, {})
    KE3, again = client.finish(KE2, S, names)
    assert [KE3.hex(), again] == [account["recovery"]["KE3"], export_key]
    sealed = bytes.fromhex(account["registration"]["encryptedBackupKey"])
    assert wire.open_sealed(export_key, sealed).hex() == account["backupKey"]


def check_fleet():
    vector = load("fleet.json")
    evaluations = {i: bytes.fromhex(element) for i, element in enumerate(vector["evaluations"], 1) if i in (2, 4, 5)}
    assert fleet.combine(evaluations).hex() == vector["combined"]
    blinded = deserialize(bytes.fromhex(vector["blindedElement"]))
    assert serialize(multiply(number(vector["key"]), blinded)).hex() == vector["combined"]
    share, vector = number(vector["shares"][1]), vector["registration"]
    given = {name: bytes.fromhex(text) for name, text in vector.items() if isinstance(text, str) and name != "account"}
    start_key, finish_key = wire.registration_keys(number(vector["keyshareSecret"]), given["serverPublicKey"])
    started = wire.share_start_mac(
        start_key,
        given["serverPublicKey"],
        given["keyshare"],
        vector["account"],
        given["registrationId"],
        given["transportKey"],
        vector["limit"],
        given["dealing"],
        vector["index"],
    )
    assert started == given["startMac"]
    wrapped = fleet.wrap_share(number(vector["keyshareSecret"]), given["transportKey"], share)
    assert wrapped == given["wrappedShare"]
    finished = (given["registrationRecord"], given["encryptedBackupKey"], False, wrapped, given["sharePublicKey"])
    assert wire.finish_mac(finish_key, started, *finished) == given["finishMac"]


def expect(error, work, vector):
    try:
        work()
    except error:
        return
    raise AssertionError(vector)


def check_refused(account, randomized, export_key):
    refused = load("refused.json")
    for vector in refused["starts"]:
        expected, came = started(account, vector)
        foreign = vector.get("registrationResponse", "")[66:] not in ("", account["vault"]["serverPublicKey"])
        assert foreign or expected != came, vector
    errors = {"WrongPassword": WrongPassword, "VaultIdentityMismatch": NotTheVault}
    for vector in refused["logins"]:
        client, KE2, S, names = login(account, vector)
        # The stretching is repeated only if the evaluation differs.
        same = KE2[:33].hex() == account["recovery"]["KE2"][:66]
        work = (lambda: client.open(randomized, KE2, S, names)) if same else (lambda: client.finish(KE2, S, names))
        expect(errors[vector["code"]], work, vector)
    for vector in refused["sealedKeys"]:
        sealed = bytes.fromhex(vector["encryptedBackupKey"])
        expect(wire.NotOurs, lambda: wire.open_sealed(export_key, sealed), vector)
    for element in refused["elements"]:
        expect(ValueError, lambda: deserialize(bytes.fromhex(element)), element)


check_passwords()
check_stretching()
check_fleet()
accounts = load("account.json")
made = [check_registration(account) for account in accounts]
for account, (_, export_key) in zip(accounts, made):
    check_recovery(account, export_key)
check_refused(accounts[0], *made[0])
print("ok")
