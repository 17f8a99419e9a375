"""The life of an account at one vault. Standard input: {"url", "serverPublicKey", "account", "accessToken", "registered": {"password", "key"}}."""

import json
import sys

from opaque import WrongPassword
from vault import Problem, Vault
from wire import decode


def expect(error, work):
    try:
        work()
    except error as raised:
        return raised
    raise AssertionError(f"{error.__name__} was expected")


given = json.load(sys.stdin)
vault = Vault(given["url"], decode(given["serverPublicKey"]), given["account"], given["accessToken"])

# A key that another client registered opens here.
key = bytes.fromhex(given["registered"]["key"])
assert vault.recover(given["registered"]["password"]) == (key, 0)

other = bytes(reversed(key))
assert expect(Problem, lambda: vault.register("another", other)).kind == "key-exists"
vault.register("correct horse", other, replace=True)
assert expect(WrongPassword, lambda: vault.recover("incorrect horse")).args == (9,)
assert vault.status()["attemptsRemaining"] == 9
assert vault.recover("correct\u00a0horse") == (other, 1)
assert vault.status()["attemptsRemaining"] == 10

vault.change_password("correct horse", "battery staple")
expect(WrongPassword, lambda: vault.recover("correct horse"))
assert vault.recover("battery staple") == (other, 1)

vault.delete()
assert vault.status()["state"] == "unregistered"
# The answer for a deleted account is that for a wrong password, so that nobody learns whether an account exists.
expect(WrongPassword, lambda: vault.recover("battery staple"))

vault.register("left behind", key)
print("ok")
