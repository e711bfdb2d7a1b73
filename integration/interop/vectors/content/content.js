// Test vectors of sealed content, version 1, with Node.js alone.
//
//   node content.js write          prints vectors, made by the encoder below
//   node content.js check FILE...  compares vectors with what the example reads
//
// sqsx/internal/content/testdata/vectors/README.md describes them.

const { createHash } = require('node:crypto')
const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const zlib = require('node:zlib')

const time = 1_700_000_000_123
const kinds = { String: 1, Number: 1, Binary: 2 }

const u32 = (n) => {
  const b = Buffer.alloc(4)
  b.writeUInt32BE(n)
  return b
}
const field = (b) => Buffer.concat([u32(Buffer.from(b).length), Buffer.from(b)])
const attribute = ([name, type, value], kind = kinds[type.split('.')[0]]) =>
  Buffer.concat([field(name), field(type), Buffer.from([kind]), field(value)])
const sorted = (attributes) => [...attributes].sort((a, b) => Buffer.compare(Buffer.from(a[0]), Buffer.from(b[0])))
const block = (...attributes) => Buffer.concat(sorted(attributes).map((a) => attribute(a)))

function encode({ flags = 0, at = time, sealed = '', clear = '', body = '' } = {}) {
  const head = Buffer.alloc(9)
  head[0] = flags
  head.writeBigUInt64BE(BigInt(at), 1)
  return Buffer.concat([head, field(sealed), field(clear), Buffer.from(body)])
}
const deflate = (body, level = 9) => zlib.deflateRawSync(body, { level })
const declared = (n, stream) => Buffer.concat([u32(n), Buffer.from(stream)])

const vectors = []
const b64 = (b) => Buffer.from(b).toString('base64')
const sha256 = (b) => createHash('sha256').update(b).digest('hex')
const mostInFull = 4096 // bytes of a body

function add(name, encoded, expect, want = {}) {
  const v = { name, producer: `node ${process.versions.node}`, content: b64(encoded), expect }
  if (expect === 'success') {
    v.time = want.at ?? time
    v.allInside = want.allInside ?? false
    const body = Buffer.from(want.body ?? '')
    if (body.length > mostInFull) v.bodySHA256 = sha256(body)
    else v.body = b64(body)
    for (const key of ['sealed', 'clear']) {
      v[key] = sorted(want[key] ?? []).map(([name, type, value]) => ({ name, type, value: b64(value) }))
    }
  }
  vectors.push(v)
}

const order = `{"order":4711,"note":"${'hello '.repeat(40)}"}`
const tenant = ['tenant', 'String', 'acme, Zürich']
const amount = ['amount', 'Number', '01.50']
const signature = ['sig', 'Binary', Buffer.from([0, 255, 128])]
const names = Array.from({ length: 11 }, (_, i) => [`a${String(i).padStart(2, '0')}`, 'String', 'v'])

function good() {
  const success = (name, encoded, want) => add(name, encoded, 'success', want)
  success('a body', encode({ body: order }), { body: order })
  success('all attributes inside', encode({ flags: 2, sealed: block(amount, signature, tenant), body: order }), {
    allInside: true, sealed: [amount, signature, tenant], body: order,
  })
  success('attributes in clear, too', encode({ flags: 2, sealed: block(amount), clear: block(tenant) }), {
    allInside: true, sealed: [amount], clear: [tenant],
  })
  const odd = [['__proto__', 'String', '1'], ['constructor', 'String', '2'], ['\u{1F511}', 'String', '3'], ['\uFF5E', 'String', '4']]
  success('names sort by bytes, not by UTF-16', encode({ sealed: block(...odd) }), { sealed: odd })
  success('10 attributes', encode({ clear: block(...names.slice(0, 10)) }), { clear: names.slice(0, 10) })
  for (const level of [1, 6, 9]) {
    success(`deflated, level ${level}`, encode({ flags: 1, body: declared(order.length, deflate(order, level)) }), { body: order })
  }
  const zeros = Buffer.alloc(1 << 20)
  success('deflated, 1 MiB', encode({ flags: 1, body: declared(zeros.length, deflate(zeros)) }), { body: zeros })
}

function bad() {
  const a = attribute(['a', 'String', '1'])
  const b = attribute(['b', 'String', '1'])
  const malformed = {
    'names out of order': encode({ sealed: Buffer.concat([b, a]) }),
    'a name twice': encode({ clear: Buffer.concat([a, a]) }),
    'a name in both blocks': encode({ sealed: a, clear: a }),
    'names that UTF-16 sorts': encode({ sealed: Buffer.concat(['\u{1F511}', '\uFF5E'].map((n) => attribute([n, 'String', '1']))) }),
    'a block with a byte more': encode({ sealed: Buffer.concat([a, Buffer.from([0])]) }),
    'bytes as text': encode({ sealed: attribute(['a', 'Binary', '1'], 1) }),
    'sealq inside': encode({ sealed: block(['sealq', 'String', '1']) }),
    '11 attributes': encode({ sealed: block(...names) }),
    'deflated, level 0': encode({ flags: 1, body: declared(order.length, deflate(order, 0)) }),
    'deflated, nothing': encode({ flags: 1, body: declared(0, deflate('')) }),
    'one byte more than declared': encode({ flags: 1, body: declared(order.length - 1, deflate(order)) }),
    'a byte behind the stream': encode({ flags: 1, body: declared(order.length, Buffer.concat([deflate(order), Buffer.from([0])])) }),
    'zlib in place of raw DEFLATE': encode({ flags: 1, body: declared(order.length, zlib.deflateSync(order)) }),
    '1 MiB declared, 16 MiB behind it': encode({ flags: 1, body: declared(1 << 20, deflate(Buffer.alloc(16 << 20))) }),
  }
  for (const [name, encoded] of Object.entries(malformed)) add(name, encoded, 'malformed')
  add('flags 0x10', encode({ flags: 16 }), 'unsupported')
}

function write() {
  good()
  bad()
  console.log(`[\n${vectors.map((v) => JSON.stringify(v)).join(',\n')}\n]`)
}

const listed = (attributes) =>
  Object.entries(attributes).map(([name, a]) => ({ name, type: a.DataType, value: b64(a.BinaryValue ?? a.StringValue) }))

async function check(files) {
  const { decode, Unsupported } = await import(join(__dirname, '../../../../examples/javascript/content.js'))
  const outcome = (encoded) => {
    try {
      const c = decode(encoded)
      const body = Buffer.from(c.body)
      return {
        expect: 'success', time: c.sealedAt, allInside: c.allInside, sealed: listed(c.sealed), clear: listed(c.clear),
        ...(body.length > mostInFull ? { bodySHA256: sha256(body) } : { body: b64(body) }),
      }
    } catch (e) {
      return { expect: e instanceof Unsupported ? 'unsupported' : 'malformed' }
    }
  }
  let checked = 0
  for (const file of files) {
    for (const v of JSON.parse(readFileSync(file, 'utf8'))) {
      const got = outcome(Buffer.from(v.content, 'base64'))
      checked++
      for (const key of ['expect', 'time', 'allInside', 'body', 'bodySHA256', 'sealed', 'clear']) {
        if (JSON.stringify(v[key]) !== JSON.stringify(got[key])) {
          console.error(`${file}: ${v.name}: ${key}: got ${got.expect}, want ${v.expect}`)
          process.exitCode = 1
          break
        }
      }
    }
  }
  console.log(`${checked} vectors`)
  if (!checked) process.exitCode = 1
}

const [verb, ...files] = process.argv.slice(2)
if (verb === 'write') write()
else if (verb === 'check') check(files)
else {
  console.error('content.js write, or content.js check FILE...')
  process.exitCode = 1
}
