/**
 * Accumulators of a reduction. Float sums go in blocks: at most 32 additions in each lane, then the
 * block joins a compensated total (Kahan 1965), so that the error does not grow with the length.
 */
import type { ReduceOp } from '../../ir/descriptor.ts'
import type { ScalarType } from '../../ir/expression.ts'
import { type Code, f32x4, type FunctionBuilder, i32, i32x4, type Local, set, settled, v128, when } from '../core/assembler.ts'
import type { VectorScope } from '../core/scope.ts'

export const blockRounds = 32

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

/** Whether sums are made of blocks, which `addBlock` adds up. */
export const inBlocks = (op: ReduceOp, type: ScalarType): boolean => op === 'sum' && type === 'f32'

/** The total with a block added, and what the addition lost. */
export function addBlock(scope: VectorScope, total: Code, lost: Code, block: Code): { readonly total: Code; readonly lost: Code } {
  const added = scope.keep(f32x4.sub(block, lost))
  const sum = scope.keep(f32x4.add(total, added))
  const error = scope.keep(f32x4.sub(f32x4.sub(sum, total), added))
  return { total: sum, lost: v128.and(error, f32x4.eq(error, error)) } // An infinite sum would leave NaN behind.
}

/** The accumulators of one fold over all lanes of several vectors. */
export class Accumulators {
  private readonly scope: VectorScope
  private readonly monoid: Monoid
  private readonly vectors: readonly Local[]
  /** For single vectors, as the others must all be treated alike to become 256 bits wide; with them it shares no value. */
  private readonly rest: Local
  private readonly compensated: { readonly total: Local; readonly lost: Local } | undefined
  private readonly left: Local
  private readonly spill: Local

  /** `spill` is the address of `width` vectors of scratch memory. */
  constructor(f: FunctionBuilder, scope: VectorScope, op: ReduceOp, type: ScalarType, width: number, spill: Local) {
    this.scope = scope
    this.monoid = monoid(op, type)
    this.vectors = Array.from({ length: width }, () => scope.variable())
    this.rest = scope.variable()
    this.left = f.local('i32')
    this.spill = spill
    this.compensated = inBlocks(op, type) ? { total: scope.variable(), lost: scope.variable() } : undefined
  }

  get identity(): Code {
    return this.monoid.identity(this.scope)
  }

  start(): void {
    const { compensated } = this
    this.scope.emit(this.clear(), compensated === undefined ? [] : this.set(1, [compensated.total, compensated.lost]))
  }

  private clear(): Code {
    return [this.set(this.vectors.length, this.vectors), this.set(1, [this.rest]), set(this.left, blockRounds)]
  }

  private set(width: number, vectors: readonly Local[]): Code[] {
    return this.scope.within(width, () => vectors.map((v) => set(v, this.identity)))
  }

  /** Adds a value to each vector, or one alone. */
  add(values: readonly Code[]): void {
    const into = values.length === this.vectors.length ? this.vectors : [this.rest]
    into.forEach((v, i) => this.scope.emit(set(v, this.monoid.fold(v, values[i] ?? this.identity))))
  }

  /** Ends a round of `add`. */
  endRound(): void {
    if (this.compensated === undefined) return
    const next = set(this.left, i32.sub(this.left, 1))
    this.scope.emit(next, when(i32.eqz(this.left), this.scope.block(() => this.endBlock(this.compensated))))
  }

  private endBlock(compensated: Accumulators['compensated']): void {
    if (compensated === undefined) return
    const next = addBlock(this.scope, compensated.total, compensated.lost, this.joined())
    this.scope.emit(set(compensated.lost, next.lost), set(compensated.total, next.total), this.clear())
  }

  /** The vectors folded into one, neighbours first. Stores next to each other are what V8 makes wider, with all that leads to them. */
  private joined(): Code {
    const { scope, spill, vectors, monoid: { fold } } = this
    scope.emit(vectors.map((v, i) => v128.store(spill, settled(v), 16 * i)))
    const join = (from: number, to: number): Code => {
      const middle = Math.ceil((from + to) / 2)
      return to - from === 1 ? v128.load(spill, 16 * from) : fold(join(from, middle), join(middle, to))
    }
    return scope.keep(fold(join(0, vectors.length), this.rest))
  }

  /** All lanes folded, (0, 2) with (1, 3), in each lane. */
  finish(): Code {
    const { scope, compensated, monoid: { fold } } = this
    if (compensated !== undefined) scope.emit(scope.block(() => this.endBlock(compensated)))
    const x = compensated === undefined ? this.joined() : compensated.total
    const lane = (k: number): Code => i32x4.splat(i32x4.extract(x, k))
    return scope.keep(fold(fold(lane(0), lane(2)), fold(lane(1), lane(3))))
  }
}
