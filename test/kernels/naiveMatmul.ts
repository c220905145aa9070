/** Matrix products in float64 loops, and random layouts of their operands. */
import fc from 'fast-check'
import { address, type Layout, type Placed, positions } from './strided.ts'

export interface PlacedMatmul {
  readonly batch: readonly number[]
  readonly m: number
  readonly k: number
  readonly n: number
  readonly a: Placed
  readonly b: Placed
  readonly out: Placed
}

/** The largest error of an element of `out` relative to the sum of its terms' sizes, and the elements that are the product's. */
export function matmulError({ batch, m, k, n, a, b, out }: PlacedMatmul, [aValues, bValues]: readonly Float32Array[], values: Float32Array): { readonly worst: number; readonly written: ReadonlySet<number> } {
  const step = (operand: Placed, fromEnd: number): number => operand.strides.at(fromEnd) ?? 0
  const written = new Set<number>()
  let worst = 0
  for (const position of positions([...batch, m, n])) {
    const outer = position.slice(0, -2)
    const [row = 0, column = 0] = position.slice(-2)
    let sum = 0
    let size = 0
    const [aAt, bAt] = [address(a, [...outer, row, 0]), address(b, [...outer, 0, column])]
    for (let t = 0; t < k; t++) {
      const product = (aValues?.[aAt + t * step(a, -1)] ?? Number.NaN) * (bValues?.[bAt + t * step(b, -2)] ?? Number.NaN)
      sum += product
      size += Math.abs(product)
    }
    const element = address(out, position)
    written.add(element)
    const error = Math.abs((values[element] ?? Number.NaN) - sum) / (size + 1e-30)
    worst = Number.isNaN(error) ? Infinity : Math.max(worst, error)
  }
  return { worst, written }
}

/** Layouts of a matrix in batches; those of inputs may repeat elements. */
export const anyLayoutOf = (rank: number, input: boolean): fc.Arbitrary<Layout> =>
  fc.record({
    order: fc.oneof(
      fc.constant(Array.from({ length: rank }, (_, i) => i)),
      fc.shuffledSubarray(Array.from({ length: rank }, (_, i) => i), { minLength: rank }),
    ),
    flipped: fc.subarray(Array.from({ length: rank }, (_, i) => i)),
    broadcast: input ? fc.oneof(fc.constant([]), fc.subarray(Array.from({ length: rank }, (_, i) => i))) : fc.constant([]),
    spacing: fc.constantFrom(1, 1, 2),
    front: fc.constantFrom(0, 3),
  })
