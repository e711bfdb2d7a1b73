"""What is sealed where the encryption context has `sealq:content` = `1`.

The body, the message attributes and the time, as docs/format.md has it under
"Sealed content". The standard library is enough. Give decode() what the
encryption SDK returned, so that nobody without the key can have written it.
"""

import struct
import zlib
from dataclasses import dataclass

NAME, VERSION = "sealq:content", "1"  # in the encryption context
DEFLATED, ALL_INSIDE = 1, 2  # flags
MOST_BODY, MOST_ATTRIBUTES, LAST_MS = 1 << 20, 10, 253402300799999
KINDS = {"String": 1, "Number": 1, "Binary": 2}

# Attributes that tracers write and read on the wire, in lower case.
TRACERS = {
    "_datadog", "traceparent", "tracestate", "b3", "sentry-trace", "newrelic",
    "elastic-apm-traceparent", "uber-trace-id",
}


class Unsupported(ValueError):
    """Written by a later release."""


@dataclass
class Content:
    body: str
    sealed_at: int  # milliseconds since 1970
    all_inside: bool  # an attribute on the wire that is not here is somebody else's
    sealed: dict  # attributes that travel in here only, as boto3 has them
    clear: dict  # copies of those that travel in clear, too

    def attributes(self, wire):
        """What to deliver, of a message that has these attributes on the wire."""
        delivered = {
            name: value for name, value in wire.items() if not self.all_inside or is_tracers(name)
        }
        return delivered | self.clear | self.sealed


def is_tracers(name):
    return name.lower() in TRACERS or name.lower().startswith("x-b3-")


def decode(plaintext):
    """The Content of bytes. A ValueError says what is wrong with them."""
    if plaintext and plaintext[0] & ~(DEFLATED | ALL_INSIDE):
        raise Unsupported(f"flags of a later release: {plaintext[0]:#04x}")
    head, rest = _take(plaintext, 9)
    flags, ms = struct.unpack(">BQ", head)
    if ms > LAST_MS:
        raise ValueError("a time after the year 9999")
    sealed, rest = _field(rest)
    clear, body = _field(rest)
    sealed, clear = _attributes(sealed), _attributes(clear)
    if sealed.keys() & clear.keys() or len(sealed) + len(clear) > MOST_ATTRIBUTES:
        raise ValueError("an attribute twice, or too many")
    if flags & DEFLATED:
        body = _inflate(body)
    return Content(body.decode(), ms, bool(flags & ALL_INSIDE), sealed, clear)


def _take(b, n):
    if len(b) < n:
        raise ValueError("ends too early")
    return b[:n], b[n:]


def _field(b):
    length, b = _take(b, 4)
    return _take(b, *struct.unpack(">I", length))


def _attributes(block):
    found, last = {}, ""
    while block:
        name, block = _field(block)
        kind_of, block = _field(block)
        kind, block = _take(block, 1)
        value, block = _field(block)
        name, kind_of = name.decode(), kind_of.decode()  # not UTF-8 is a ValueError, too
        if name.encode() <= last.encode() or name == "sealq":
            raise ValueError("attributes out of order, one twice, or one that is never inside")
        if kind[0] != KINDS.get(kind_of.split(".")[0]):
            raise ValueError("an attribute of a kind that its type does not have")
        if kind[0] == 2:
            found[name] = {"DataType": kind_of, "BinaryValue": value}
        else:
            found[name] = {"DataType": kind_of, "StringValue": value.decode()}
        last = name
    return found


def _inflate(body):
    length, stream = _take(body, 4)
    (length,) = struct.unpack(">I", length)
    if length > MOST_BODY:
        raise ValueError("a body of more than 1 MiB")
    if 4 + len(stream) >= length:
        raise ValueError("a compressed body that is not shorter than the body")
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)  # raw DEFLATE
    try:
        body = inflater.decompress(stream, length + 1)  # no more, whatever is behind it
    except zlib.error as e:
        raise ValueError(f"a body that does not decompress: {e}") from e
    if len(body) != length or not inflater.eof or inflater.unused_data:
        raise ValueError("a body that does not have the length that it declares")
    return body
