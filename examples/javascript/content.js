// What is sealed where the encryption context has `sealq:content` = `1`: the
// body, the message attributes and the time, as docs/format.md has it under
// "Sealed content". Node.js alone is enough. Give decode() what the encryption
// SDK returned, so that nobody without the key can have written it.

import { inflateRawSync } from 'node:zlib'

export const contentName = 'sealq:content' // in the encryption context
export const contentVersion = '1'

const deflated = 1
const allInside = 2
const mostBody = 1 << 20
const mostAttributes = 10
const lastMs = 253402300799999n
const kinds = new Map([['String', 1], ['Number', 1], ['Binary', 2]])

// Attributes that tracers write and read on the wire, in lower case.
const tracers = new Set([
  '_datadog', 'traceparent', 'tracestate', 'b3', 'sentry-trace', 'newrelic',
  'elastic-apm-traceparent', 'uber-trace-id',
])
const isTracers = (name) => tracers.has(name.toLowerCase()) || name.toLowerCase().startsWith('x-b3-')

// utf8 throws for what is not UTF-8, where Buffer would replace it.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const utf8 = (bytes) => decoder.decode(bytes)

// Unsupported: written by a later release.
export class Unsupported extends Error {}

// decode returns the content of bytes: body, sealedAt (milliseconds since 1970),
// allInside (an attribute on the wire that is not here is somebody else's),
// sealed (attributes that travel in here only) and clear (copies of those that
// travel in clear, too). An error says what is wrong.
export function decode(bytes) {
  const r = new Reader(Buffer.from(bytes))
  const flags = r.take(1)[0]
  if (flags & ~(deflated | allInside)) throw new Unsupported(`flags of a later release: ${flags}`)
  const ms = r.take(8).readBigUInt64BE()
  if (ms > lastMs) throw new Error('a time after the year 9999')
  const sealed = attributesIn(r.field())
  const clear = attributesIn(r.field())
  const names = [...Object.keys(sealed), ...Object.keys(clear)]
  if (new Set(names).size !== names.length || names.length > mostAttributes) {
    throw new Error('an attribute twice, or too many')
  }
  const body = utf8(flags & deflated ? inflate(r) : r.rest)
  return { body, sealedAt: Number(ms), allInside: (flags & allInside) !== 0, sealed, clear }
}

// delivered returns the attributes to deliver, of a message that has these on
// the wire.
export function delivered(content, wire) {
  const kept = Object.entries(wire).filter(([name]) => !content.allInside || isTracers(name))
  return { ...Object.fromEntries(kept), ...content.clear, ...content.sealed }
}

class Reader {
  constructor(rest) {
    this.rest = rest
  }

  take(n) {
    if (this.rest.length < n) throw new Error('ends too early')
    const taken = this.rest.subarray(0, n)
    this.rest = this.rest.subarray(n)
    return taken
  }

  length() {
    return this.take(4).readUInt32BE()
  }

  field() {
    return this.take(this.length())
  }
}

function attributesIn(block) {
  const found = Object.create(null) // a name may be "__proto__"
  const r = new Reader(block)
  let last = Buffer.alloc(0)
  while (r.rest.length) {
    const nameBytes = r.field()
    const [name, DataType, kind, value] = [utf8(nameBytes), utf8(r.field()), r.take(1)[0], r.field()]
    if (Buffer.compare(nameBytes, last) <= 0 || name === 'sealq') {
      throw new Error('attributes out of order, one twice, or one that is never inside')
    }
    if (kind !== kinds.get(DataType.split('.')[0])) {
      throw new Error('an attribute of a kind that its type does not have')
    }
    found[name] = kind === 2 ? { DataType, BinaryValue: Buffer.from(value) } : { DataType, StringValue: utf8(value) }
    last = nameBytes
  }
  return found
}

function inflate(r) {
  const length = r.length()
  if (length > mostBody) throw new Error('a body of more than 1 MiB')
  if (4 + r.rest.length >= length) throw new Error('a compressed body that is not shorter than the body')
  // No more than that is made, whatever is behind it.
  const { buffer, engine } = inflateRawSync(r.rest, { info: true, maxOutputLength: length })
  if (buffer.length !== length || engine.bytesWritten !== r.rest.length) {
    throw new Error('a body that does not have the length that it declares')
  }
  return buffer
}
