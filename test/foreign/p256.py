"""P-256 (FIPS 186) and hashing to it (RFC 9380, P256_XMD:SHA-256_SSWU_RO_). For tests only: not in constant time."""

from hashlib import sha256

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
A = P - 3
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def add(left, right):
    """The sum of two points; None is the identity."""
    if left is None or right is None:
        return left or right
    (x1, y1), (x2, y2) = left, right
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    slope = (3 * x1 * x1 + A) * pow(2 * y1, -1, P) if left == right else (y2 - y1) * pow(x2 - x1, -1, P)
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def multiply(scalar, point):
    result = None
    for bit in bin(scalar % N)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def serialize(point):
    """SEC1, compressed, 33 bytes."""
    x, y = point
    return bytes([2 + y % 2]) + x.to_bytes(32, "big")


def deserialize(data):
    """Decodes a point of the curve from 33 bytes. Raises ValueError for everything else."""
    x = int.from_bytes(data[1:], "big")
    y = pow(x**3 + A * x + B, (P + 1) // 4, P)
    if len(data) != 33 or data[0] not in (2, 3) or x >= P or (y * y - x**3 - A * x - B) % P:
        raise ValueError("no point of P-256")
    return x, y if y % 2 == data[0] % 2 else P - y


def expand_message(message, dst, length):
    """RFC 9380, 5.3.1."""
    dst += bytes([len(dst)])
    first = sha256(bytes(64) + message + length.to_bytes(2, "big") + b"\0" + dst).digest()
    blocks = [sha256(first + b"\1" + dst).digest()]
    while 32 * len(blocks) < length:
        mixed = bytes(a ^ b for a, b in zip(first, blocks[-1]))
        blocks.append(sha256(mixed + bytes([len(blocks) + 1]) + dst).digest())
    return b"".join(blocks)[:length]


def hash_to_scalar(message, dst):
    return int.from_bytes(expand_message(message, dst, 48), "big") % N


def hash_to_group(message, dst):
    uniform = expand_message(message, dst, 96)
    halves = (int.from_bytes(half, "big") % P for half in (uniform[:48], uniform[48:]))
    return add(*(_map_to_curve(u) for u in halves))


def _map_to_curve(u):
    """RFC 9380, 6.6.2, with Z = -10."""
    zu2 = -10 * u * u
    denominator = (zu2 * zu2 + zu2) % P
    x = -B * pow(A, -1, P) * (1 + pow(denominator, -1, P)) if denominator else B * pow(-10 * A, -1, P)
    for candidate in (x % P, zu2 * x % P):
        square = (candidate**3 + A * candidate + B) % P
        y = pow(square, (P + 1) // 4, P)
        if y * y % P == square:
            return candidate, y if y % 2 == u % 2 else P - y
    raise AssertionError("one of the two is a square")
