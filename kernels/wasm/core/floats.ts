/** Building blocks of the approximations of functions on f32 lanes. */
import { type Code, f32x4, i32x4, v128 } from './assembler.ts'
import type { VectorScope } from './scope.ts'

export const signBit = 0x80000000
/** c₀xⁿ + c₁xⁿ⁻¹ + … by Horner's rule. */
export function polynomial(scope: VectorScope, x: Code, coefficients: readonly number[]): Code {
  const [highest = 0, ...rest] = coefficients
  return rest.reduce<Code>((sum, c) => f32x4.add(f32x4.mul(sum, x), scope.f32(c)), scope.f32(highest))
}

export const withSignOf = (scope: VectorScope, magnitude: Code, sign: Code): Code => v128.or(magnitude, v128.and(sign, scope.i32(signBit)))

/** x = 2ᵏ·m with √½ ≤ m < √2, for positive finite x, denormals included; k as a float. */
export function splitExponent(scope: VectorScope, x: Code): { k: Code; m: Code } {
  const tiny = scope.keep(f32x4.lt(x, scope.f32(2 ** -126)))
  const normal = v128.select(f32x4.mul(x, scope.f32(2 ** 25)), x, tiny)
  const bits = scope.keep(i32x4.sub(normal, scope.i32(0x3f3504f3))) // √½
  const k = f32x4.sub(f32x4.convertI32(i32x4.shr(bits, 23)), v128.and(tiny, scope.f32(25)))
  const m = i32x4.add(v128.and(bits, scope.i32(0x007fffff)), scope.i32(0x3f3504f3))
  return { k: scope.keep(k), m: scope.keep(m) }
}
