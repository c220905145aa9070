/** What contractions, norms and convolutions ask of their operands: floats of one type. */
import { isFloat, promote } from '../dtype.ts'
import type { DType } from '../dtype.ts'
import { DTypeError } from '../error.ts'
import type { TensorLike } from '../graph.ts'

/** The common float type of named operands, of which some may be absent; integers are a DTypeError that names them. */
export function floatType(op: string, operands: Readonly<Record<string, TensorLike | undefined>>): DType {
  let common: DType | undefined
  for (const [name, x] of Object.entries(operands)) {
    if (x === undefined) continue
    if (!isFloat(x.dtype)) throw new DTypeError(`${op}: ${name} is ${x.dtype}, but ${op} takes floats; cast it to f32 first`)
    common = common === undefined ? x.dtype : promote(op, common, x.dtype)
  }
  return common ?? 'f32'
}
