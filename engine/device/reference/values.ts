/**
 * How the reference device holds values: floats as float64, whatever their dtype says, so that "f32" has float64's
 * precision; f16 and bf16 are rounded to what those formats can hold, ties to even, by definition rather than by bits.
 */
import { roundToBf16, roundToF16 } from '../../../kernels/ir/rounding.ts'
import type { DType, TypedArray } from '../../dtype.ts'
import type { Spec } from '../../graph.ts'
import { widenHalves } from '../../halves.ts'
import { sizeOf } from '../../shape.ts'

export type Values = Float64Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>

/** Values in row-major order, and what they are. */
export interface Held {
  readonly spec: Spec
  readonly values: Values
}

/** An array of `dtype`, all zeros. */
export function zeros(dtype: DType, length: number): Values {
  switch (dtype) {
    case 'f32':
    case 'f16':
    case 'bf16':
    case 'f64':
      return new Float64Array(length)
    case 'i32':
      return new Int32Array(length)
    case 'u32':
      return new Uint32Array(length)
    case 'u8':
    case 'bool':
      return new Uint8Array(length)
    default:
      return dtype satisfies never
  }
}

/** An array for `spec` with `value(i)` at row-major position i; f16 and bf16 are rounded, integers wrap. */
export function fill({ shape, dtype }: Spec, value: (i: number) => number): Values {
  const values = zeros(dtype, sizeOf(shape))
  const round = roundingOf(dtype)
  for (let i = 0; i < values.length; i++) values[i] = round(value(i))
  return values
}

/** `values` as what the dtype can hold: themselves where that is float64. */
export function rounded(values: Float64Array<ArrayBuffer>, { dtype }: Spec): Values {
  const round = roundingOf(dtype)
  if (round !== unrounded) return values.map(round)
  const held = zeros(dtype, values.length)
  if (held instanceof Float64Array) return values
  held.set(values)
  return held
}

/** Copies what a host gives: numbers, or the 16 bits of each half. */
export function fromHost(data: TypedArray | Uint16Array<ArrayBuffer>, spec: Spec): Values {
  const numbers = data instanceof Uint16Array ? widenHalves(data, spec.dtype) : data
  return fill(spec, (i) => numbers[i] ?? 0)
}

const unrounded = (x: number): number => x

function roundingOf(dtype: DType): (x: number) => number {
  return dtype === 'f16' ? roundToF16 : dtype === 'bf16' ? roundToBf16 : unrounded
}
