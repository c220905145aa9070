/** Arithmetic on what may be a number of the host, computed there in float64, or a tensor. */
import { add, div, log, mul, neg, sqrt, sub } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'

/** A number, or a tensor that broadcasts over the images. */
export type Factor = number | TensorLike

const both = (x: Factor, y: Factor): readonly [number, number] | undefined => (typeof x === 'number' && typeof y === 'number' ? [x, y] : undefined)

export function plus(x: Factor, y: Factor): Factor {
  const numbers = both(x, y)
  return numbers === undefined ? add(x, y) : numbers[0] + numbers[1]
}

export function times(x: Factor, y: Factor): Factor {
  const numbers = both(x, y)
  return numbers === undefined ? mul(x, y) : numbers[0] * numbers[1]
}

export function over(x: Factor, y: Factor): Factor {
  const numbers = both(x, y)
  return numbers === undefined ? div(x, y) : numbers[0] / numbers[1]
}

export const square = (x: Factor): Factor => times(x, x)

export const negative = (x: Factor): Factor => (typeof x === 'number' ? -x : neg(x))

/** √x. */
export const root = (x: Factor): Factor => (typeof x === 'number' ? Math.sqrt(x) : sqrt(x))

/** ln x. */
export const ln = (x: Factor): Factor => (typeof x === 'number' ? Math.log(x) : log(x))

/** Σ factor·x, factors broadcasting over the images. Terms whose factor is the number 0 are left out, whatever they hold. Throws RangeError if none is left. */
export function combine(...terms: readonly (readonly [factor: Factor, x: TensorLike])[]): Tensor {
  const [first, ...rest] = terms.filter(([factor]) => factor !== 0)
  if (first === undefined) throw new RangeError('combine: every factor is 0')
  const term = ([factor, x]: readonly [Factor, TensorLike]): Tensor => (factor === 1 ? x.read() : factor === -1 ? neg(x) : mul(x, factor))
  return rest.reduce((sum, [factor, x]) => (factor === 1 ? add(sum, x) : factor === -1 ? sub(sum, x) : add(sum, mul(x, factor))), term(first))
}
