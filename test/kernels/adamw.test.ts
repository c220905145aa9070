import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { adamwKernel } from '../../kernels/wasm/optim/adamw.ts'
import { squaredNormKernel, squaredNormPartials } from '../../kernels/wasm/optim/squaredNorm.ts'
import { expectClose, floats, launch, type Values } from './launch-rows.ts'
import { adamwStep, settings } from './optimizer.ts'

const sizes = fc.array(fc.constantFrom(0, 1, 3, 7, 8, 31, 33, 8191, 8192, 8193, 20000), { minLength: 1, maxLength: 4 })
describe('adamwKernel', () => {
  it('does the documented operations bit for bit, or nothing', () => {
    fc.assert(fc.property(sizes, fc.boolean(), fc.boolean(), fc.nat(1000), (lengths, ema, apply, seed) => {
      const scalars = Float32Array.from([...Object.values(settings), apply ? 1 : 0])
      const inputs = lengths.map((n, i) => {
        const [p, g, m, v, e] = [0, 1, 2, 3, 4].map((k) => floats(n, seed + 7 * i + k))
        if (!apply) g?.fill(Number.NaN)
        return [p, g, m, v?.map(Math.abs), ...(ema ? [e] : [])].map((x) => x ?? new Float32Array(0))
      })
      const outputs = lengths.map((n) => Array.from({ length: ema ? 4 : 3 }, () => new Float32Array(n)))
      launch(adamwKernel({ sizes: lengths, ema }), [scalars, ...inputs.flat(), ...outputs.flat()], seed)
      lengths.forEach((n, i) => {
        const [p, g, m, v, e] = inputs[i] ?? []
        const expected = outputs[i]?.map(() => new Float32Array(n))
        for (let k = 0; k < n; k++) {
          const results = apply ? adamwStep(p?.[k] ?? 0, g?.[k] ?? 0, m?.[k] ?? 0, v?.[k] ?? 0, e?.[k] ?? 0) : [p?.[k] ?? 0, m?.[k] ?? 0, v?.[k] ?? 0, e?.[k] ?? 0]
          expected?.forEach((x, j) => { x[k] = results[j] ?? 0 })
        }
        expect(Buffer.from(new Uint8Array(Float32Array.from(outputs[i]?.flatMap((x) => [...x]) ?? []).buffer)).equals(Buffer.from(new Uint8Array(Float32Array.from(expected?.flatMap((x) => [...x]) ?? []).buffer)))).toBe(true)
      })
    }), { numRuns: 25 })
  })
})

describe('adamwKernel in place', () => {
  it('gives the same bits', () => {
    const lengths = [33, 9000]
    const kernel = adamwKernel({ sizes: lengths, ema: true })
    const scalars = Float32Array.from([...Object.values(settings), 1])
    const inputs = lengths.flatMap((n, i) => [0, 1, 2, 3, 4].map((k) => floats(n, 7 * i + k).map(Math.abs)))
    const outputs = lengths.flatMap((n) => [0, 1, 2, 3].map(() => new Float32Array(n)))
    launch(kernel, [scalars, ...inputs, ...outputs])
    // Output k of a tensor is its input p, m, v or ema.
    const sameBuffer = (buffer: number): number => {
      const k = buffer - 1 - inputs.length
      return k < 0 ? buffer : 1 + 5 * Math.floor(k / 4) + (k % 4 === 0 ? 0 : 1 + (k % 4))
    }
    const args = kernel.args.map((a) => (typeof a === 'object' && 'pointers' in a ? { pointers: a.pointers.map(sameBuffer) } : a))
    launch({ ...kernel, args }, [scalars, ...inputs])
    outputs.forEach((x, i) => expect(inputs[sameBuffer(1 + inputs.length + i) - 1]).toEqual(x))
  })
})

describe('squaredNormKernel', () => {
  it('gives partial sums of squares', () => {
    fc.assert(fc.property(sizes, fc.nat(1000), (lengths, seed) => {
      const inputs = lengths.map((n, i) => floats(n, seed + i))
      const partials = new Float32Array(squaredNormPartials(lengths))
      const buffers: Values[] = [...inputs, partials]
      launch(squaredNormKernel({ sizes: lengths }), buffers, seed)
      const expected = inputs.reduce((sum, x) => x.reduce((a, v) => a + v * v, sum), 0)
      expectClose(partials.reduce((a, b) => a + b, 0), expected, 1e-6, 'norm')
    }), { numRuns: 25 })
  })
})
