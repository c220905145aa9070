/** The kernel that looks for NaN sets its word if, and only if, there is one among the elements of a view. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { anomalyKernel } from '../../../kernels/wgsl/core/nonfinite.ts'
import { gpu, runWgsl } from './run.ts'

/** Bits of elements, and whether they count as NaN and as not finite. */
const elements = {
  f32: [[0x00000000, 0], [0x80000000, 0], [0x3f800000, 0], [0xff7fffff, 0], [0x7f800000, 1], [0xff800000, 1], [0x7f800001, 2], [0x7fc00000, 2], [0xffffffff, 2]],
  f16: [[0x0000, 0], [0x8000, 0], [0x3c00, 0], [0xfbff, 0], [0x7c00, 1], [0xfc00, 1], [0x7c01, 2], [0x7e00, 2], [0xffff, 2]],
} as const

const cases = fc.record({
  dtype: fc.constantFrom('f32' as const, 'f16' as const),
  infinities: fc.boolean(),
  shape: fc.constantFrom([1], [31], [300], [5, 7], [2, 33, 4], [0]),
  gap: fc.constantFrom(0, 1, 3),
  offset: fc.nat(5),
  /** Which element is strange, and how; what lies between elements is always NaN. */
  place: fc.nat(1000),
  kind: fc.nat(8),
  flag: fc.nat(3),
})

describe.skipIf(gpu === undefined)('anomalyKernel', () => {
  test('sets its word for what counts', async () => {
    await fc.assert(fc.asyncProperty(cases, async ({ dtype, infinities, shape, gap, offset, place, kind, flag }) => {
      const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce<number>((n, size) => n * (size + gap), 1))
      const positions = shape.reduce<number[]>((all, size, axis) => all.flatMap((at) => Array.from({ length: size }, (_, i) => at + i * (strides[axis] ?? 0))), [offset])
      const length = Math.max(0, ...positions) + 2
      const words = dtype === 'f32' ? new Uint32Array(length).fill(0xffffffff) : new Uint16Array(2 * Math.ceil(length / 2)).fill(0xffff)
      const [one = [0, 0]] = elements[dtype].slice(2, 3)
      for (const at of positions) words[at] = one[0]
      const [bits, level] = elements[dtype][kind] ?? [0, 0]
      const strange = positions[place % Math.max(1, positions.length)]
      if (strange !== undefined) words[strange] = bits
      const flags = new Uint32Array(4)
      await runWgsl(anomalyKernel({ shape, operand: { strides, offset }, dtype, infinities, flag }), [words, flags])
      const counts = strange !== undefined && level >= (infinities ? 1 : 2)
      expect([...flags]).toEqual([0, 1, 2, 3].map((i) => (counts && i === flag ? 1 : 0)))
    }), { numRuns: 60 })
  })
})
