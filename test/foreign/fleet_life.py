"""
The life of an account at a fleet. Standard input: {"threshold", "vaults": [{"url", "serverPublicKey", "accessToken"}], "account",
"registered": {"password", "key"}}.
"""

import json
import sys

from fleet import Fleet
from opaque import WrongPassword
from wire import decode

given = json.load(sys.stdin)
vaults = [(vault["url"], decode(vault["serverPublicKey"]), vault["accessToken"]) for vault in given["vaults"]]
fleet = Fleet(given["threshold"], vaults, given["account"])
key = bytes.fromhex(given["registered"]["key"])

# A key that another client dealt opens here, even with a vault down.
assert fleet.recover(given["registered"]["password"]) == (key, 0)
down = [("http://127.0.0.1:9", S, token) if i == 0 else (url, S, token) for i, (url, S, token) in enumerate(vaults)]
assert Fleet(given["threshold"], down, given["account"]).recover(given["registered"]["password"]) == (key, 0)

fleet.change_password(given["registered"]["password"], "correct horse")
try:
    fleet.recover(given["registered"]["password"])
except WrongPassword as wrong:
    assert wrong.args == (9,)
else:
    raise AssertionError("the old password still opens")
assert fleet.recover("correct horse") == (key, 1)

fleet.delete()
assert all(dealings == [] for dealings in fleet.held().values())
fleet.register("left behind", key)
print("ok")
