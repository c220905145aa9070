/** What contractions, norms and convolutions ask of their operands: floats of one type, and constants for absent ones. */
import { isFloat, promote } from '../dtype.ts'
import type { DType } from '../dtype.ts'
import { DTypeError } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { applyOn } from '../op.ts'
import type { Shape } from '../shape.ts'
import { literalOp } from './elementwise.ts'
import { expand } from './movement.ts'

/** The common float type of named operands, of which some may be absent; integers are a DTypeError that names them. */
export function floatType(op: string, operands: Readonly<Record<string, TensorLike | undefined>>): DType {
  let common: DType | undefined
  for (const name in operands) {
    const x = operands[name]
    if (x === undefined) continue
    if (!isFloat(x.dtype)) throw new DTypeError(`${op}: ${name} is ${x.dtype}, but ${op} takes floats; cast it to f32 first`)
    common = common === undefined ? x.dtype : promote(op, common, x.dtype)
  }
  return common ?? 'f32'
}

/** The same for what multiplies and adds up many numbers: f32 becomes the type that the device is told to multiply in. */
export function productType(op: string, operands: Readonly<Record<string, TensorLike | undefined>>): DType {
  const type = floatType(op, operands)
  if (type !== 'f32') return type
  for (const name in operands) {
    const x = operands[name]
    if (x !== undefined) return x.device.productType ?? type
  }
  return type
}

/** The type in which statistics of `dtype` are computed: sums, means and exponentials of half floats are f32. */
export function statisticsType(dtype: DType): DType {
  return dtype === 'f16' || dtype === 'bf16' ? 'f32' : dtype
}

/** A literal in every place of `shape`, in the type `dtype`: structure, not data. */
export function filled(like: TensorLike, shape: Shape, value: number, dtype: DType = like.dtype): Tensor {
  return expand(applyOn(like.device, literalOp, { value, dtype }), shape)
}
