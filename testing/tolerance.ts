/** The one table of tolerances: by dtype, and by how many terms an element sums. */
import type { DType } from '../engine/dtype.ts'

/** The distance from 1 to the next number. */
const unit = { f64: 2 ** -52, f32: 2 ** -23, f16: 2 ** -10, bf16: 2 ** -7, i32: 0, u32: 0, u8: 0, bool: 0 } as const satisfies Record<DType, number>

/** Roundings allowed to functions like exp and tanh, and to chains of a few of them. */
const roundings = 16

/**
 * What a value of `dtype` may be off by, relative to the larger of the expected value and the scale of its tensor.
 * Rounding errors of `terms` summands that come in any order grow like the root of their number. Integers are exact.
 */
export function tolerance(dtype: DType, terms = 1): number {
  return unit[dtype] * (roundings + 4 * Math.sqrt(terms))
}
