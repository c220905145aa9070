/** Running sums and products along an axis. */
import { refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import type { Primitive } from '../op.ts'
import { at, resolveAxis } from '../shape.ts'
import { less, literal, mul, where, widen } from './elementwise.ts'
import { iota } from './iota.ts'
import { flip, reshape, strideSlice, zeroPad } from './movement.ts'

export interface ScanOptions {
  /** From the end of the axis to its beginning. */
  readonly reverse?: boolean
}

export const cumsumOp: Primitive<readonly [Tensor], { axis: number; reverse: boolean }, 'cumsum'> = {
  kind: 'primitive',
  name: 'cumsum',
  shape: ([x]) => x,
  vjp: (dy, _, __, { axis, reverse }) => [apply(cumsumOp, [dy], { axis, reverse: !reverse })],
}

/** yᵢ = x₀ + … + xᵢ along `axis`; the shape of x. Bools and u8 count as i32. */
export function cumsum(x: TensorLike, axis: number, { reverse = false, ...others }: ScanOptions = {}): Tensor {
  refuseOthers('cumsum', others)
  return apply(cumsumOp, [widen(x)], { axis: resolveAxis('cumsum', axis, x.shape), reverse })
}

/** yᵢ = x₀ · … · xᵢ along `axis`; the shape of x. The gradient is exact where x has zeros. */
export function cumprod(x: TensorLike, axis: number, { reverse = false, ...others }: ScanOptions = {}): Tensor {
  refuseOthers('cumprod', others)
  const along = resolveAxis('cumprod', axis, x.shape)
  return reverse ? flip(products(flip(widen(x), along), along), along) : products(widen(x), along)
}

/** Π over all j ≠ i along `axis`, at every i: what a product's derivative is made of, without dividing. */
export function productOfOthers(x: Tensor, axis: number): Tensor {
  const before = delayed(products(x, axis), axis, 1)
  const after = flip(delayed(products(flip(x, axis), axis), axis, 1), axis)
  return mul(before, after)
}

/** Doubling (Hillis and Steele, "Data parallel algorithms", 1986): after step k each place holds 2ᵏ factors. */
function products(x: Tensor, axis: number): Tensor {
  let y = x
  for (let step = 1; step < at(x.shape, axis); step *= 2) y = mul(y, delayed(y, axis, step))
  return y
}

/** `x` moved `by` places up the axis, with ones before it. */
function delayed(x: Tensor, axis: number, by: number): Tensor {
  const n = at(x.shape, axis)
  const shift = x.shape.map((_, i) => (i === axis ? Math.min(by, n) : 0))
  const kept = strideSlice(x, { start: x.shape.map(() => 0), size: x.shape.map((d, i) => d - at(shift, i)), step: x.shape.map(() => 1) })
  const place = reshape(iota(x.device, n), x.shape.map((_, i) => (i === axis ? n : 1)))
  return where(less(place, literal(by)), literal(1), zeroPad(kept, shift, shift.map(() => 0)))
}
