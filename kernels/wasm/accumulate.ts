/**
 * Accumulators of a reduction. Float sums go in blocks: at most 32 additions in each lane, then the
 * block joins a compensated total (Kahan 1965), so that the error does not grow with the length.
 */
import type { ReduceOp } from '../descriptor.ts'
import type { ScalarType } from '../expression.ts'
import { type Code, f32x4, type FunctionBuilder, get, i32, i32x4, type Local, set, v128, when } from './assembler.ts'
import type { VectorScope } from './scope.ts'

const blockRounds = 32

type Fold = (x: Code, y: Code) => Code
interface Monoid {
  readonly fold: Fold
  readonly identity: (scope: VectorScope) => Code
}

const bits = (fold: Fold, identity: number): Monoid => ({ fold, identity: (scope) => scope.i32(identity) })
const floats = (fold: Fold, identity: number): Monoid => ({ fold, identity: (scope) => scope.f32(identity) })

const monoids: Readonly<Record<ScalarType, Readonly<Partial<Record<ReduceOp, Monoid>>>>> = {
  f32: { sum: floats(f32x4.add, 0), prod: floats(f32x4.mul, 1), max: floats(f32x4.max, -Infinity), min: floats(f32x4.min, Infinity) },
  i32: { sum: bits(i32x4.add, 0), prod: bits(i32x4.mul, 1), max: bits(i32x4.max, -2147483648), min: bits(i32x4.min, 2147483647) },
  u32: { sum: bits(i32x4.add, 0), prod: bits(i32x4.mul, 1), max: bits(i32x4.maxu, 0), min: bits(i32x4.minu, -1) },
  bool: { max: bits(v128.or, 0), min: bits(v128.and, -1) },
}

/** Fails if values of `type` have no such reduction. */
export function monoid(op: ReduceOp, type: ScalarType): Monoid {
  const found = monoids[type][op]
  if (found === undefined) throw new TypeError(`reduce: no ${op} of ${type} values; cast to i32 first`)
  return found
}

export class Accumulators {
  private readonly scope: VectorScope
  private readonly monoid: Monoid
  private readonly vectors: readonly Local[]
  /** One compensated total for each group of vectors that ends up together; none unless this is a float sum. */
  private readonly totals: readonly { readonly total: Local; readonly lost: Local }[]
  private readonly groups: number
  private readonly left: Local

  /** `apart`: each vector is a result of its own; else all lanes of all vectors are one. */
  constructor(f: FunctionBuilder, scope: VectorScope, op: ReduceOp, type: ScalarType, width: number, apart: boolean) {
    this.scope = scope
    this.monoid = monoid(op, type)
    this.vectors = Array.from({ length: width }, () => scope.variable())
    this.groups = apart ? width : 1
    this.left = f.local('i32')
    const compensated = op === 'sum' && type === 'f32'
    this.totals = Array.from({ length: compensated ? this.groups : 0 }, () => ({ total: scope.variable(), lost: scope.variable() }))
  }

  get identity(): Code {
    return this.monoid.identity(this.scope)
  }

  start(): void {
    this.scope.emit(this.clear(), this.totals.map(({ total, lost }) => [set(total, this.identity), set(lost, this.identity)]))
  }

  private clear(): Code {
    return [this.vectors.map((v) => set(v, this.identity)), set(this.left, i32.const(blockRounds))]
  }

  /** Adds a value to each of the first vectors. */
  add(values: readonly Code[]): void {
    this.vectors.slice(0, values.length).forEach((v, i) => this.scope.emit(set(v, this.monoid.fold(get(v), values[i] ?? this.identity))))
  }

  /** Ends a round of `add`. */
  endRound(): void {
    if (this.totals.length === 0) return
    const next = set(this.left, i32.sub(get(this.left), i32.const(1)))
    this.scope.emit(next, when(i32.eqz(get(this.left)), this.scope.block(() => this.endBlock())))
  }

  private endBlock(): void {
    const { scope } = this
    this.totals.forEach(({ total, lost }, group) => {
      const block = scope.keep(f32x4.sub(this.joined(group), get(lost)))
      const sum = scope.keep(f32x4.add(get(total), block))
      const error = scope.keep(f32x4.sub(f32x4.sub(sum, get(total)), block))
      // An infinite sum would leave NaN behind.
      scope.emit(set(lost, v128.and(error, f32x4.eq(error, error))), set(total, sum))
    })
    scope.emit(this.clear())
  }

  /** The vectors of a group folded into one, neighbours first. */
  private joined(group: number): Code {
    const join = (codes: readonly Code[]): Code => {
      const [first = [], ...rest] = codes
      const middle = Math.ceil(codes.length / 2)
      return rest.length === 0 ? first : this.monoid.fold(join(codes.slice(0, middle)), join(codes.slice(middle)))
    }
    return join((this.groups > 1 ? this.vectors.slice(group, group + 1) : this.vectors).map(get))
  }

  /** The results, one vector for each group. */
  finish(): readonly Code[] {
    if (this.totals.length > 0) {
      this.scope.emit(this.scope.block(() => this.endBlock()))
      return this.totals.map(({ total }) => get(total))
    }
    return Array.from({ length: this.groups }, (_, group) => this.scope.keep(this.joined(group)))
  }

  /** All lanes of `vector` folded, (0, 2) with (1, 3), in each lane. */
  acrossLanes(vector: Code): Code {
    const { fold } = this.monoid
    const x = this.scope.keep(vector)
    const lane = (k: number): Code => i32x4.splat(i32x4.extract(x, k))
    return this.scope.keep(fold(fold(lane(0), lane(2)), fold(lane(1), lane(3))))
  }
}
