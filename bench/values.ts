/**
 * Inputs and fingerprints that any language computes alike, so that two libraries can be shown to do the same work:
 * numbers are a hash of their place (the finaliser of MurmurHash3), and outputs are told apart by projections.
 */
import { tensor, variable } from '../engine/index.ts'
import type { Device, Shape, Tensor, Variable } from '../engine/index.ts'

/** Uniform in ±√3, so of unit variance. */
export function values(elements: number, seed: number): Float32Array<ArrayBuffer> {
  const result = new Float32Array(elements)
  const start = Math.imul(seed, 0x9e3779b1)
  for (let i = 0; i < elements; i++) {
    let h = start + i
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
    result[i] = (((h ^ (h >>> 16)) >>> 0) / 2 ** 31 - 1) * Math.sqrt(3)
  }
  return result
}

/** `values` that lie on the device. */
export function input(device: Device, seed: number, ...shape: Shape): Variable {
  return variable(tensor(values(count(shape), seed), shape, { device }))
}

/** Elements in all. */
export const count = (...shapes: readonly Shape[]): number => shapes.reduce((total, shape) => total + shape.reduce((n, d) => n * d, 1), 0)

/** Two numbers that say whether an output is what it should be. */
export interface Fingerprint {
  /** √(mean y²). */
  readonly rms: number
  /** Σ y·v / √n for fixed v: of the size of `rms`, and different where elements are in other places. */
  readonly projection: number
}

export async function fingerprint(y: Tensor): Promise<Fingerprint> {
  const data = await y.data()
  const weights = values(data.length, 999)
  let [squares, projection] = [0, 0]
  data.forEach((x, i) => {
    squares += x * x
    projection += x * (weights[i] ?? 0)
  })
  return { rms: Math.sqrt(squares / data.length), projection: projection / Math.sqrt(data.length) }
}
