/** Half floats: every one of the 65,536 patterns is widened as its definition says, and every rounding boundary is kept. */
import { describe, expect, test } from 'vitest'
import { fromBf16, fromF16, toBf16, toF16 } from '../engine/halves.ts'

const all = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits)

/** The value that the definition of a format with so many bits of exponent gives a pattern. */
function valueOf(bits: number, exponentBits: number): number {
  const fractionBits = 15 - exponentBits
  const bias = 2 ** (exponentBits - 1) - 1
  const sign = bits >= 0x8000 ? -1 : 1
  const exponent = Math.floor((bits % 0x8000) / 2 ** fractionBits)
  const fraction = (bits % 2 ** fractionBits) / 2 ** fractionBits
  if (exponent === 2 * bias + 1) return fraction === 0 ? sign * Infinity : Number.NaN
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias)
}

describe.each([
  { name: 'f16', exponentBits: 5, widen: fromF16, narrow: toF16 },
  { name: 'bf16', exponentBits: 8, widen: fromBf16, narrow: toBf16 },
])('$name', ({ exponentBits, widen, narrow }) => {
  const values = new Float32Array(all.length)
  const bits = new Uint32Array(values.buffer)
  widen(all, bits)

  const narrowed = (list: Float32Array): number[] => {
    const to = new Uint16Array(list.length)
    narrow(new Uint32Array(list.buffer), to)
    return [...to]
  }

  test('widening gives the value of every pattern', () => {
    expect(all.filter((pattern, i) => !Object.is(values[i], valueOf(pattern, exponentBits)))).toEqual(new Uint16Array())
  })

  test('narrowing gives every pattern back, NaNs with their payloads', () => {
    const to = new Uint16Array(all.length)
    narrow(bits, to)
    expect(to).toEqual(all)
  })

  test('narrowing rounds to the nearest, and to the even one of two', () => {
    const infinity = (2 ** exponentBits - 1) * 2 ** (15 - exponentBits)
    for (let low = 0; low < infinity; low++) {
      // Between the largest number and infinity the boundary lies where the next number would be.
      const next = low + 1 === infinity ? 2 * valueOf(low, exponentBits) - valueOf(low - 1, exponentBits) : valueOf(low + 1, exponentBits)
      const middle = new Float32Array([(valueOf(low, exponentBits) + next) / 2])
      const word = new Uint32Array(middle.buffer)[0] ?? 0
      const around = new Float32Array(Uint32Array.of(word - 1, word, word + 1).buffer)
      const even = low % 2 === 0 ? low : low + 1
      expect([low, ...narrowed(around)]).toEqual([low, low, even, low + 1])
      expect([low, ...narrowed(around.map((x) => -x))]).toEqual([low, low + 0x8000, even + 0x8000, low + 1 + 0x8000])
    }
  })

  test('a NaN whose payload is cut off stays a NaN of its sign', () => {
    const nans = Uint32Array.of(0x7f800001, 0xff800001, 0x7fffffff, 0xffc00000)
    expect(narrowed(new Float32Array(nans.buffer)).map((pattern) => [valueOf(pattern, exponentBits), pattern >= 0x8000])).toEqual([[Number.NaN, false], [Number.NaN, true], [Number.NaN, false], [Number.NaN, true]])
  })
})
