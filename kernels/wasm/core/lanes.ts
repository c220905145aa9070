/**
 * Arithmetic on four f32 lanes for the hand-written kernels: products that may be fused, and functions that are faster
 * than those of `approximations.ts` and less exact. Their code is where it is put, not among a scope's statements.
 */
import { type Code, f32, f32x4, type FunctionBuilder, i32x4, type Local, set, v128 } from './assembler.ts'
import { multiplyAdd } from './multiplyAdd.ts'
import { VectorScope } from './scope.ts'

/** Of eʳ for |r| ≤ ½ ln 2, from r² on, by Remez' algorithm; relative error 3e-9. */
const expCoefficients: readonly number[] = [0.49999994, 0.166665211, 0.041668389, 0.00836874545, 0.00138145406]
const exponentRange = 87.33654

export class Lanes extends VectorScope {
  readonly relaxed: boolean

  constructor(f: FunctionBuilder, relaxed: boolean) {
    super(f)
    this.relaxed = relaxed
  }

  temporaryList(n: number): Local[] {
    return Array.from({ length: n }, () => this.temporary())
  }

  /** x·y + z, fused where the target has it. */
  madd(x: Code, y: Code, z: Code): Code {
    return multiplyAdd(this.relaxed, x, y, z)
  }

  /** eˣ within 2 ulp for |x| ≤ 30, 5 at the ends; 0 below −87.3, NaN of NaN. */
  exp(x: Code): Code {
    const clamped = this.temporary()
    const power = this.power(x, clamped, 1)
    return v128.andnot(power, f32x4.le(clamped, this.f32(-exponentRange)))
  }

  /**
   * e^(sign·x), with x set to −87.3 … 87.3 if it lies beyond: 2ⁿ·eʳ, and of eʳ the minimax polynomial 1 + r + c₂r² + … + c₆r⁶.
   * What takes time is how long a value waits for the one before: so the polynomial goes in pairs (Estrin 1960), not by Horner's rule.
   */
  private power(x: Code, clamped: Local, sign: 1 | -1): Code {
    const [n, whole, r, square, p] = [this.temporary(), this.temporary(), this.temporary(), this.temporary(), this.temporary()]
    const magic = this.f32(1.5 * 2 ** 23) // adding it rounds to an integer
    const c = (k: number): Code => this.f32((expCoefficients[k - 2] ?? 0) * sign ** k)
    const less = (times: number, from: Code): Code => this.madd(whole, this.f32(-sign * times), from) // ln 2 in one part loses 4e-9·|x| if fused, else too much
    const pair = (k: number): Code => this.madd(r, c(k + 1), c(k))
    return [
      set(clamped, f32x4.pmin(f32x4.pmax(x, this.f32(-exponentRange)), this.f32(exponentRange))),
      set(n, this.madd(clamped, this.f32(sign * Math.LOG2E), magic)),
      set(whole, f32x4.sub(n, magic)),
      set(r, this.relaxed ? less(Math.LN2, clamped) : less(-2.12194440e-4, less(0.693359375, clamped))), // x − sign·n·ln 2
      set(square, f32x4.mul(r, r)),
      set(p, this.madd(square, this.madd(r, this.madd(r, c(6), c(5)), c(4)), pair(2))),
      set(p, this.madd(square, p, sign > 0 ? f32x4.add(this.f32(1), r) : f32x4.sub(this.f32(1), r))),
      i32x4.add(p, i32x4.shl(n, 23)),
    ]
  }

  /** 1 / (1 + e⁻ˣ). */
  sigmoid(x: Code): Code {
    return f32x4.div(this.f32(1), this.onePlusExpNegative(x))
  }

  /** x / (1 + e⁻ˣ). */
  silu(x: Local): Code {
    return f32x4.div(x, this.onePlusExpNegative(x))
  }

  private onePlusExpNegative(x: Code): Code {
    return f32x4.add(this.f32(1), this.power(x, this.temporary(), -1))
  }
}

/** One number in all lanes, for bundles and for single vectors, which share no value. */
export class Uniform {
  readonly number: Local
  private readonly paired: Local
  private readonly single: Local

  constructor(f: FunctionBuilder) {
    this.number = f.local('f32')
    this.paired = f.local('v128')
    this.single = f.local('v128')
  }

  /** Sets it to an f32. */
  set(x: Code): Code {
    return [set(this.number, x), [this.paired, this.single].map((vector) => set(vector, f32x4.splat(this.number)))]
  }

  /** For bundles of `width` vectors. */
  of(width: number): Code {
    return width === 1 ? this.single : this.paired
  }
}

/** The sum of the four lanes, (0 + 2) + (1 + 3). */
export function sumLanes(x: Local): Code {
  const lane = (i: number): Code => f32x4.extract(x, i)
  return f32.add(f32.add(lane(0), lane(2)), f32.add(lane(1), lane(3)))
}

/** √x of a scalar. V8 compiles f32.sqrt to a legacy SSE instruction, which stalls for hundreds of cycles after 256-bit code; the vector one is not. */
export function squareRoot(x: Code): Code {
  return f32x4.extract(f32x4.sqrt(f32x4.splat(x)), 0)
}
