/**
 * The CRC-32 of zlib and PNG (ISO/IEC 15948, annex D), sixteen bytes at a time (slicing-by-16, Kounavis and Berry, 2008):
 * pages have nothing that computes it. The twin of crc32.node.ts, chosen by package.json's `imports`.
 */

/** Table k, 256 entries: what a byte that k others follow adds. */
const table = new Uint32Array(16 * 256)
for (let i = 0; i < 256; i++) {
  let c = i
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  table[i] = c
}
for (let i = 256; i < table.length; i++) {
  const c = table[i - 256] ?? 0
  table[i] = (table[c & 255] ?? 0) ^ (c >>> 8)
}

/** What the four bytes of a word add, of which `after` others follow the last. */
function word(x: number, after: number): number {
  const at = after * 256
  return (table[at + 768 + (x & 255)] ?? 0) ^ (table[at + 512 + ((x >>> 8) & 255)] ?? 0) ^ (table[at + 256 + ((x >>> 16) & 255)] ?? 0) ^ (table[at + (x >>> 24)] ?? 0)
}

/** The CRC-32 of bytes, of zlib and PNG; or of those that had `crc` and these after them. */
export function crc32(bytes: Uint8Array, crc = 0): number {
  let c = ~crc
  const single = (from: number, to: number): void => {
    for (let i = from; i < to; i++) c = (table[(c ^ (bytes[i] ?? 0)) & 255] ?? 0) ^ (c >>> 8)
  }
  const begin = Math.min(bytes.length, -bytes.byteOffset & 3) // words start at multiples of 4
  const count = (bytes.length - begin) >>> 4
  single(0, begin)
  const words = count === 0 ? new Int32Array() : new Int32Array(bytes.buffer, bytes.byteOffset + begin, 4 * count)
  for (let i = 0; i < words.length; i += 4) {
    c = word((words[i] ?? 0) ^ c, 12) ^ word(words[i + 1] ?? 0, 8) ^ word(words[i + 2] ?? 0, 4) ^ word(words[i + 3] ?? 0, 0)
  }
  single(begin + 16 * count, bytes.length)
  return ~c >>> 0
}
