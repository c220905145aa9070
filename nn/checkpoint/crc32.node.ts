/** The CRC-32 of zlib, which uses the processor's instructions for it; the twin of crc32.browser.ts, chosen by package.json's `imports`. */
import { crc32 as zlib } from 'node:zlib'

/** Node takes a length modulo 2³². */
const most = 2 ** 30

/** The CRC-32 of bytes, of zlib and PNG; or of those that had `crc` and these after them. */
export function crc32(bytes: Uint8Array, crc = 0): number {
  let value = crc
  for (let at = 0; at < bytes.length; at += most) value = zlib(bytes.subarray(at, at + most), value)
  return value
}
