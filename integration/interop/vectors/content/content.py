"""Test vectors of sealed content, version 1, with Python's standard library only.

    python3 content.py write    prints vectors, made by the encoder below
    python3 content.py check FILE...    compares vectors with what the example reads

sqsx/internal/content/testdata/vectors/README.md describes them.
"""

import base64
import hashlib
import json
import platform
import struct
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "examples" / "python"))
import content  # noqa: E402  the example's decoder

TIME = 1_700_000_000_123
KEYS = ("expect", "time", "allInside", "body", "bodySHA256", "sealed", "clear")
KINDS = {"String": 1, "Number": 1, "Binary": 2}


def field(b):
    return struct.pack(">I", len(b)) + b


def attribute(name, type_, value, kind=None):
    kind = kind or KINDS[type_.split(".")[0]]
    return field(name.encode()) + field(type_.encode()) + bytes([kind]) + field(value)


def block(*attributes):
    """A block of (name, type, value), sorted by the bytes of the names."""
    return b"".join(attribute(*a) for a in sorted(attributes, key=lambda a: a[0].encode()))


def encode(flags=0, time=TIME, sealed=b"", clear=b"", body=b""):
    return struct.pack(">BQ", flags, time) + field(sealed) + field(clear) + body


def deflate(body, level=9, wbits=-15):
    z = zlib.compressobj(level, zlib.DEFLATED, wbits)
    return z.compress(body) + z.flush()


def declared(n, stream):
    return struct.pack(">I", n) + stream


def body_of(body):
    """A body as a vector has it: a long one by its SHA-256."""
    if len(body) > 4096:
        return {"bodySHA256": hashlib.sha256(body).hexdigest()}
    return {"body": base64.b64encode(body).decode()}


vectors = []


def add(name, encoded, expect="success", **want):
    v = {
        "name": name,
        "producer": f"python {platform.python_version()}",
        "content": base64.b64encode(encoded).decode(),
        "expect": expect,
    }
    if expect == "success":
        b64 = lambda value: base64.b64encode(value).decode()
        v["time"], v["allInside"] = want.get("time", TIME), want.get("all_inside", False)
        v |= body_of(want.get("body", b""))
        for key in ("sealed", "clear"):
            v[key] = [
                {"name": n, "type": t, "value": b64(value)}
                for n, t, value in sorted(want.get(key, ()), key=lambda a: a[0].encode())
            ]
    vectors.append(v)


ORDER = b'{"order":4711,"note":"' + b"hello " * 40 + b'"}'
SHORT = b"abababababa"  # takes 6 bytes compressed, and 4 for its length
TENANT = ("tenant", "String", "acme, Zürich".encode())
AMOUNT = ("amount", "Number", b"01.50")
SIGNATURE = ("sig", "Binary.ed25519", bytes(range(256)))
NAMES = [(f"a{i:02}", "String", b"v") for i in range(11)]


def good():
    add("shortest", encode())
    add("a body", encode(body=ORDER), body=ORDER)
    add("all attributes inside", encode(2, sealed=block(AMOUNT, SIGNATURE, TENANT), body=ORDER),
        all_inside=True, sealed=[AMOUNT, SIGNATURE, TENANT], body=ORDER)
    add("attributes in clear, too", encode(2, sealed=block(AMOUNT), clear=block(TENANT), body=ORDER),
        all_inside=True, sealed=[AMOUNT], clear=[TENANT], body=ORDER)
    add("attributes in clear only", encode(clear=block(AMOUNT, TENANT), body=ORDER),
        clear=[AMOUNT, TENANT], body=ORDER)
    odd = [("Z", "String", b"1"), ("a", "String", b"2"), ("é", "Number.int", b"3"), ("東", "String.x", b"4")]
    add("names sort by bytes", encode(sealed=block(*odd)), sealed=odd)
    add("10 attributes", encode(2, sealed=block(*NAMES[:6]), clear=block(*NAMES[6:10])),
        all_inside=True, sealed=NAMES[:6], clear=NAMES[6:10])
    add("1970", encode(time=0), time=0)
    add("the last millisecond of 9999", encode(time=253402300799999), time=253402300799999)
    for level in (1, 6, 9):
        add(f"deflated, level {level}", encode(1, body=declared(len(ORDER), deflate(ORDER, level))), body=ORDER)
    add("deflated, all attributes inside",
        encode(3, sealed=block(TENANT), body=declared(len(ORDER), deflate(ORDER))),
        all_inside=True, sealed=[TENANT], body=ORDER)
    towns = ("東京" * 20).encode()
    add("deflated, beyond ASCII", encode(1, body=declared(len(towns), deflate(towns))), body=towns)
    add("deflated, a byte shorter than the body", encode(1, body=declared(len(SHORT), deflate(SHORT))), body=SHORT)


def bad():
    a, b = attribute("a", "String", b"1"), attribute("b", "String", b"1")
    malformed = {
        "nothing": b"",
        "cut within the time": encode()[:8],
        "cut before the clear attributes": encode()[:13],
        "cut within an attribute": encode(sealed=a[:-1]),
        "a block longer than the content": encode()[:9] + struct.pack(">I", 0xFFFFFFFF) + bytes(8),
        "a time after 9999": encode(time=253402300800000),
        "names out of order": encode(sealed=b + a),
        "a name twice": encode(sealed=a + a),
        "a name in both blocks": encode(sealed=a, clear=a),
        "no name": encode(sealed=attribute("", "String", b"1")),
        "kind 3": encode(sealed=attribute("a", "String", b"1", 3)),
        "text as bytes": encode(sealed=attribute("a", "String", b"1", 2)),
        "bytes as text": encode(sealed=attribute("a", "Binary.x", b"1", 1)),
        "a type that SQS does not have": encode(sealed=attribute("a", "Bool", b"1", 1)),
        "text that is not UTF-8": encode(sealed=attribute("a", "String", b"\xff")),
        "sealq inside": encode(sealed=attribute("sealq", "Binary", b"1")),
        "sealq in the clear ones": encode(clear=attribute("sealq", "Binary", b"1")),
        "11 attributes": encode(sealed=block(*NAMES[:6]), clear=block(*NAMES[6:])),
        "a length cut": encode(1, body=b"\0\0\0"),
        "one byte more than declared": encode(1, body=declared(len(ORDER) - 1, deflate(ORDER))),
        "one byte less than declared": encode(1, body=declared(len(ORDER) + 1, deflate(ORDER))),
        "a byte behind the stream": encode(1, body=declared(len(ORDER), deflate(ORDER) + b"\0")),
        "the stream cut": encode(1, body=declared(len(ORDER), deflate(ORDER)[:-1])),
        "deflated, level 0": encode(1, body=declared(len(ORDER), deflate(ORDER, 0))),
        "deflated, nothing": encode(1, body=declared(0, deflate(b""))),
        "deflated, as long as the body": encode(1, body=declared(len(SHORT) - 1, deflate(SHORT[1:]))),
        "no stream": encode(1, body=declared(0, b"")),
        "zlib in place of raw DEFLATE": encode(1, body=declared(len(ORDER), deflate(ORDER, wbits=15))),
        "1 MiB and a byte": encode(1, body=declared((1 << 20) + 1, deflate(bytes((1 << 20) + 1)))),
        "1 MiB declared, 16 MiB behind it": encode(1, body=declared(1 << 20, deflate(bytes(16 << 20)))),
        "nothing declared, 1 MiB behind it": encode(1, body=declared(0, deflate(bytes(1 << 20)))),
    }
    for name, encoded in malformed.items():
        add(name, encoded, "malformed")
    for flags in (4, 8, 64, 128, 0x83):
        add(f"flags {flags:#04x}", encode(flags), "unsupported")


def write():
    good()
    bad()
    print("[\n" + ",\n".join(json.dumps(v, ensure_ascii=False) for v in vectors) + "\n]")


def listed(attributes):
    return [
        {
            "name": name,
            "type": a["DataType"],
            "value": base64.b64encode(a["BinaryValue"] if "BinaryValue" in a else a["StringValue"].encode()).decode(),
        }
        for name, a in attributes.items()
    ]


def outcome(encoded):
    """What the example's decoder makes of it, as a vector has it."""
    try:
        c = content.decode(encoded)
    except content.Unsupported:
        return {"expect": "unsupported"}
    except ValueError:
        return {"expect": "malformed"}
    return {
        "expect": "success",
        "time": c.sealed_at,
        "allInside": c.all_inside,
        "sealed": listed(c.sealed),
        "clear": listed(c.clear),
    } | body_of(c.body.encode())


def check(files):
    failed = checked = 0
    for file in files:
        for v in json.loads(Path(file).read_text()):
            got = outcome(base64.b64decode(v["content"]))
            checked += 1
            if any(v.get(key) != got.get(key) for key in KEYS):
                failed += 1
                print(f"{file}: {v['name']}: got {got['expect']}, want {v['expect']}", file=sys.stderr)
    print(f"{checked} vectors")
    return failed > 0 or checked == 0


if sys.argv[1:] == ["write"]:
    write()
elif sys.argv[1:2] == ["check"]:
    sys.exit(check(sys.argv[2:]))
else:
    sys.exit(__doc__)
