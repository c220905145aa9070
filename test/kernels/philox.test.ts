import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { philox4x32, philoxStream } from '../../kernels/ir/philox.ts'

const hex = (words: readonly number[]): string => words.map((w) => w.toString(16).padStart(8, '0')).join(' ')

describe('philox4x32', () => {
  it('gives the known answers of Random123', () => {
    const ones = 0xffffffff
    expect(hex(philox4x32([0, 0, 0, 0], [0, 0]))).toBe('6627e8d5 e169c58d bc57ac4c 9b00dbd8')
    expect(hex(philox4x32([ones, ones, ones, ones], [ones, ones]))).toBe('408f276d 41c83b0e a20bc7c6 6d5451fd')
    expect(hex(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]))).toBe('d16cfe09 94fdcceb 5001e420 24126ea1')
  })

  it('equals the same rounds in 64-bit integers', () => {
    const word = fc.integer({ min: 0, max: 0xffffffff })
    fc.assert(fc.property(fc.tuple(word, word, word, word), fc.tuple(word, word), (counter, key) => {
      let [a, b, c, d] = counter.map(BigInt) as [bigint, bigint, bigint, bigint]
      let [k, l] = key.map(BigInt) as [bigint, bigint]
      const mask = 0xffffffffn
      for (let round = 0; round < 10; round++) {
        const [p, q] = [a * 0xd2511f53n, c * 0xcd9e8d57n]
        ;[a, b, c, d] = [(q >> 32n) ^ b ^ k, q & mask, (p >> 32n) ^ d ^ l, p & mask]
        ;[k, l] = [(k + 0x9e3779b9n) & mask, (l + 0xbb67ae85n) & mask]
      }
      expect(philox4x32(counter, key)).toEqual([a, b, c, d].map(Number))
    }))
  })
})

describe('philoxStream', () => {
  it('carries from the low counter word to the high one', () => {
    const words = new Uint32Array(10)
    philoxStream([7, 8], [0xffffffff, 4], words)
    expect([...words.subarray(0, 4)]).toEqual(philox4x32([0xffffffff, 4, 0, 0], [7, 8]))
    expect([...words.subarray(4, 8)]).toEqual(philox4x32([0, 5, 0, 0], [7, 8]))
    expect([...words.subarray(8)]).toEqual(philox4x32([1, 5, 0, 0], [7, 8]).slice(0, 2))
  })
})
