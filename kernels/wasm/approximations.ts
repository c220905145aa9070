import type { Code } from './assembler.ts'
import { f32x4 } from './assembler.ts'
import type { VectorScope } from './scope.ts'
const missing = (_: VectorScope, x: Code): Code => f32x4.neg(x)
export const exp = missing, log = missing, expm1 = missing, log1p = missing, sin = missing, cos = missing, tanh = missing, erf = missing, sigmoid = missing
export const pow = (_: VectorScope, x: Code, y: Code): Code => f32x4.add(x, y)
export const atan2 = pow
