import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { scanKernel } from '../../../kernels/wgsl/reduce/scan.ts'
import { scanCase, scanCases } from '../indexing.ts'
import { gpu, runWgsl } from './run.ts'

describe.skipIf(gpu === undefined)('scanKernel', () => {
  const agrees = async (cases: typeof scanCases, numRuns: number): Promise<void> => {
    await fc.assert(fc.asyncProperty(cases, async (drawn) => {
      const { descriptor, buffers, check } = scanCase(drawn)
      await runWgsl(scanKernel(descriptor), buffers)
      check()
    }), { numRuns })
  }
  const long = (shapes: readonly (readonly number[])[], axis: number): typeof scanCases => scanCases.chain((drawn) => fc.constantFrom(...shapes).map((shape) => ({ ...drawn, drawn: { ...drawn.drawn, shape, axis } })))

  it('adds along the last named axis, from either end', () => agrees(scanCases, 30))
  it('adds along lines of a workgroup', () => agrees(long([[3, 65], [3, 256], [3, 257], [3, 1000], [3, 1024]], 1), 12))
  it('adds along lines of many runs', () => agrees(long([[3, 1025], [2, 4100], [2, 66_000]], 1), 8))

  it.each([['a line of many runs', 1, 300_000], ['many columns', 16_400, 600]] as const)('adds floats along %s without errors that grow with it', async (_, columns, length) => {
    const x = Float32Array.from({ length: columns * length }, (__, i) => 0.1 + Math.sin(i) / 50)
    const y = new Float32Array(x.length)
    const down = { strides: [1, columns], offset: 0 }
    await runWgsl(scanKernel({ shape: [columns, length], x: down, y: down, reverse: false, dtype: 'f32' }), [x, y])
    let worst = 0
    for (let c = 0; c < columns; c += 99) {
      for (let i = 0, sum = 0; i < length; i++) {
        sum += x[i * columns + c] ?? NaN
        worst = Math.max(worst, Math.abs((y[i * columns + c] ?? NaN) / sum - 1))
      }
    }
    expect(worst).toBeLessThan(8 * 2 ** -24)
  })

  it('adds along many columns', async () => {
    const [rows, columns] = [70, 16_400]
    const x = Int32Array.from({ length: rows * columns }, (_, i) => Math.imul(i, 2654435761))
    const y = new Int32Array(x.length)
    const down = { strides: [1, columns], offset: 0 }
    await runWgsl(scanKernel({ shape: [columns, rows], x: down, y: down, reverse: false, dtype: 'i32' }), [x, y])
    for (let i = columns; i < x.length; i++) x[i] = (x[i] ?? 0) + (x[i - columns] ?? 0)
    expect(Buffer.compare(new Uint8Array(y.buffer), new Uint8Array(x.buffer))).toBe(0)
  })
})
