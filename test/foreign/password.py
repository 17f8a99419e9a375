"""A password's bytes, as docs/passwords.md defines them: RFC 8265 OpaqueString, with rules for what it leaves open."""

import json
import unicodedata
from bisect import bisect_right
from pathlib import Path

VECTORS = Path(__file__).parent.parent / "vectors"


class Table:
    """A set of code points from code-points.json."""

    def __init__(self, text):
        self.ranges = [tuple(int(end, 16) for end in part.split("-")) for part in text.split()]
        self.firsts = [first for first, _ in self.ranges]

    def __contains__(self, char):
        at = bisect_right(self.firsts, ord(char)) - 1 if char else -1
        return at >= 0 and ord(char) <= self.ranges[at][1]


TABLES = {name: Table(text) for name, text in json.loads((VECTORS / "code-points.json").read_text()).items()}
VARIATION_SELECTORS = Table("180b-180d 180f-180f fe00-fe0f e0100-e01ef")
ARABIC_INDIC = Table("660-669")
EXTENDED_ARABIC_INDIC = Table("6f0-6f9")
SKIN_TONES = Table("1f3fb-1f3ff")
TAGS = Table("e0020-e007f")
TAG_END = "\U000e007f"
ZWNJ, ZWJ = "\u200c", "\u200d"


class Refused(Exception):
    """`code`: EmptyPassword, PasswordTooLong or InvalidPassword."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def at(text, i):
    return text[i] if 0 <= i < len(text) else ""


def compose(text):
    """Applies NFC to those runs that Unicode 13.0 assigns."""
    runs, run = [], ""
    for char in text:
        if char in TABLES["assigned"]:
            run += char
        else:
            runs += [unicodedata.normalize("NFC", run), char]
            run = ""
    return "".join(runs) + unicodedata.normalize("NFC", run)


def ends_emoji(text, i):
    return at(text, i - 1 if at(text, i) in SKIN_TONES else i) in TABLES["pictograph"]


def breaks_join(text, i):
    """RFC 5892, A.1: ZERO WIDTH NON-JOINER is allowed between letters that would join."""

    def skip(i, step):
        i += step
        while at(text, i) in TABLES["transparent"]:
            i += step
        return at(text, i)

    return skip(i, -1) in TABLES["joinsNext"] and skip(i, 1) in TABLES["joinsLast"]


def in_tag_sequence(text, i):
    first = last = i
    while at(text, first - 1) in TAGS:
        first -= 1
    last = first
    while at(text, last) in TAGS and at(text, last) != TAG_END:
        last += 1
    return at(text, last) == TAG_END and last > first and last >= i and ends_emoji(text, first - 1)


def allowed(text, i):
    char, before, after = text[i], at(text, i - 1), at(text, i + 1)
    if char in TAGS:
        return in_tag_sequence(text, i)
    if char in ARABIC_INDIC:
        return not any(other in EXTENDED_ARABIC_INDIC for other in text)
    if char in EXTENDED_ARABIC_INDIC:
        return not any(other in ARABIC_INDIC for other in text)
    if char == ZWNJ:
        return before in TABLES["virama"] or breaks_join(text, i)
    if char == ZWJ:
        return before in TABLES["virama"] or (ends_emoji(text, i - 1) and after in TABLES["pictograph"])
    if char == "\u00b7":
        return before == after == "l"
    if char == "\u0375":
        return after in TABLES["greek"]
    if char in "\u05f3\u05f4":
        return before in TABLES["hebrew"]
    if char == "\u30fb":
        return any(other in TABLES["japanese"] for other in text)
    return char not in TABLES["disallowed"]


def prepare(password):
    """Returns the password's bytes, 1 to 1,024. Raises Refused."""
    plain = "".join(
        " " if unicodedata.category(char) == "Zs" else char for char in password if char not in VARIATION_SELECTORS
    )
    prepared = compose(plain)
    if not prepared:
        raise Refused("EmptyPassword")
    if not all(allowed(prepared, i) for i in range(len(prepared))):
        raise Refused("InvalidPassword")
    encoded = prepared.encode()
    if len(encoded) > 1024:
        raise Refused("PasswordTooLong")
    return encoded
