/** Linear maps along one axis, given as matrices [out, in] that depend on sizes alone and are worked out in float64. */
import { leafTensor } from '../create.ts'
import { hostArray } from '../dtype.ts'
import type { Tensor } from '../graph.ts'
import { apply } from '../op.ts'
import { at, sizeOf } from '../shape.ts'
import { matmulOp } from '../ops/matmul.ts'
import { expand, permute, reshape } from '../ops/movement.ts'

/** Row i holds the weights of the inputs that make result i. */
export type Rows = readonly (readonly number[])[]

/** y[…, i, …] = Σⱼ rows[i][j] · x[…, j, …] along `axis`. */
export function resampleAxis(x: Tensor, axis: number, rows: Rows): Tensor {
  const [from, to] = [at(x.shape, axis), rows.length]
  const data = hostArray(x.dtype, to * from)
  data.set(rows.flat())
  const matrix = leafTensor(x.device, { kind: 'data', data }, [to, from], x.dtype)
  const [before, after] = [sizeOf(x.shape.slice(0, axis)), sizeOf(x.shape.slice(axis + 1))]
  const y =
    axis === x.rank - 1
      ? apply(matmulOp, [reshape(x, [before, from]), permute(matrix, [1, 0])])
      : apply(matmulOp, [expand(matrix, [before, to, from]), reshape(x, [before, from, after])])
  return reshape(y, x.shape.map((d, i) => (i === axis ? to : d)))
}

function build(from: number, to: number, taps: (i: number) => Iterable<readonly [j: number, weight: number]>): number[][] {
  return Array.from({ length: to }, (_, i) => {
    const row = new Array<number>(from).fill(0)
    for (const [j, weight] of taps(i)) row[j] = at(row, j) + weight
    return row
  })
}

/** Means over ⌊i·from/to⌋ … ⌈(i + 1)·from/to⌉ − 1. */
export function averagingMatrix(from: number, to: number): Rows {
  return build(from, to, (i) => {
    const [first, end] = [Math.floor((i * from) / to), Math.ceil(((i + 1) * from) / to)]
    return Array.from({ length: end - first }, (_, k) => [first + k, 1 / (end - first)] as const)
  })
}

/** Where result i lies among the inputs. */
export type Place = (i: number) => number

/** Between the two nearest inputs; beyond the ends, the end. */
export function linearMatrix(from: number, to: number, place: Place): Rows {
  return build(from, to, (i) => {
    const x = Math.min(Math.max(place(i), 0), from - 1)
    const left = Math.floor(x)
    return [[left, 1 - (x - left)], [Math.min(left + 1, from - 1), x - left]]
  })
}

/** Cubic convolution (Keys 1981) with a = −0.75 over four inputs; beyond the ends, the end repeats. */
export function cubicMatrix(from: number, to: number, place: Place): Rows {
  const a = -0.75
  const near = (t: number): number => ((a + 2) * t - (a + 3)) * t * t + 1 // |t| ≤ 1
  const far = (t: number): number => ((a * t - 5 * a) * t + 8 * a) * t - 4 * a // 1 < |t| < 2
  return build(from, to, (i) => {
    const x = place(i)
    const left = Math.floor(x)
    const t = x - left
    return [far(1 + t), near(t), near(1 - t), far(2 - t)].map((weight, k) => [Math.min(Math.max(left - 1 + k, 0), from - 1), weight] as const)
  })
}
