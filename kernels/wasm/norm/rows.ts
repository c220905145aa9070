/**
 * Rows, one an item: where they lie, the walk over their elements, and sums or maxima over them. Rows whose elements are
 * not neighbours are copied to scratch, worked on there and copied back, so that the arithmetic is that of contiguous rows.
 */
import { advance, type Code, f32, f32x4, type FunctionBuilder, i32, type Local, loopWhile, minimum, set, settled, v128 } from '../core/assembler.ts'
import type { Strided } from '../../ir/descriptor.ts'
import type { Arguments } from '../core/arguments.ts'
import type { Lanes } from '../core/lanes.ts'
import type { ScratchAreas } from '../core/scratch.ts'

/** An operand whose rows are worked on in place if their elements are neighbours, and in scratch otherwise. */
export class Rows {
  readonly contiguous: boolean
  private readonly address: Local
  private readonly row: Local
  private readonly element: Local
  private readonly copy: Local | undefined

  constructor(args: Arguments, areas: ScratchAreas, buffer: number, { strides: [row = 0, element = 0], offset }: Strided, length: number) {
    this.contiguous = element === 1 || length === 1
    this.address = args.buffer(buffer, 4 * offset)
    this.row = args.number(4 * row)
    this.element = args.number(4 * element)
    this.copy = this.contiguous ? undefined : areas.area(4 * length)
  }

  /** Sets `at` to contiguous room for row `item`. */
  room(item: Local, at: Local): Code {
    return set(at, this.copy === undefined ? i32.add(this.address, i32.mul(item, this.row)) : this.copy)
  }

  /** Fills the room of an input. */
  read(f: FunctionBuilder, item: Local, length: Local): Code {
    return this.walk(f, item, length, (far, near) => f32.store(near, f32.load(far)))
  }

  /** Empties the room of an output. */
  write(f: FunctionBuilder, item: Local, length: Local): Code {
    return this.walk(f, item, length, (far, near) => f32.store(far, f32.load(near)))
  }

  private walk(f: FunctionBuilder, item: Local, length: Local, move: (far: Code, near: Code) => Code): Code {
    if (this.copy === undefined) return []
    const [far, near, left] = [f.local('i32'), f.local('i32'), f.local('i32')]
    return [
      set(far, i32.add(this.address, i32.mul(item, this.row))),
      set(near, this.copy), set(left, length),
      loopWhile(left, [
        move(far, near),
        advance(far, this.element), advance(near, 4), set(left, i32.sub(left, 1)),
      ]),
    ]
  }
}

/** Vectors of a bundle, and the elements after which sums are added to a total, which keeps their rounding error small. */
const width = 4
const blockElements = 4096

/** One step of a walk: `vectors` of each row, or one element in lane 0. */
export interface RowStep {
  readonly vectors: number
  readonly scalar: boolean
  /** The elements of row `row` at the step. */
  load(row: number, vector: number): Code
  store(row: number, vector: number, value: Local): Code
}

/** Walks rows at `bases`, by bundles, single vectors, then single elements. `body` has the code of one step; `folds` are those that it uses. */
export function walkRow(f: FunctionBuilder, lanes: Lanes, bases: readonly Local[], length: Local, folds: readonly RowFold[], body: (step: RowStep) => Code): Code {
  const pointers = bases.map((base) => ({ base, at: f.local('i32') }))
  const [left, rest] = [f.local('i32'), f.local('i32')]
  const at = (row: number): Code => { const pointer = pointers[row]; return pointer === undefined ? i32.const(0) : pointer.at }
  const run = (vectors: number, scalar: boolean): Code => {
    const elements = scalar ? 1 : 4 * vectors
    const code = lanes.within(vectors, () => body({
      vectors, scalar,
      load: (row, vector) => (scalar ? v128.load32Zero(at(row)) : v128.load(at(row), 16 * vector)),
      store: (row, vector, value) => (scalar ? v128.store32Lane(at(row), value, 0) : v128.store(at(row), value, 16 * vector)),
    }))
    return loopWhile(i32.ge(left, elements), [
      code,
      pointers.map((pointer) => advance(pointer.at, 4 * elements)),
      set(left, i32.sub(left, elements)),
      lanes.clear,
    ])
  }
  return [
    pointers.map(({ base, at: pointer }) => set(pointer, base)),
    folds.map((fold) => fold.start),
    set(rest, length),
    loopWhile(rest, [
      set(left, minimum(rest, blockElements)),
      set(rest, i32.sub(rest, left)),
      run(width, false), run(1, false), run(1, true),
      folds.map((fold) => fold.endBlock),
    ]),
  ]
}

/** A sum or a maximum over a row. */
export class RowFold {
  /** The result, an f32, after the walk. */
  readonly total: Local
  private readonly wide: readonly Local[]
  private readonly single: Local
  private readonly tail: Local
  private readonly spill: Local
  private readonly identity: number
  private readonly fold: (x: Code, y: Code) => Code
  private readonly foldScalars: (x: Code, y: Code) => Code

  /** `spill` is the address of `spillBytes` of scratch memory. A maximum passes NaN over. */
  constructor(f: FunctionBuilder, spill: Local, op: 'sum' | 'max') {
    const vector = (): Local => f.local('v128')
    this.total = f.local('f32')
    this.wide = Array.from({ length: width }, vector)
    this.single = vector()
    this.tail = vector()
    this.spill = spill
    this.identity = op === 'sum' ? 0 : -Infinity
    this.fold = op === 'sum' ? f32x4.add : f32x4.pmax
    this.foldScalars = op === 'sum' ? f32.add : f32.max
  }

  /** Of scratch memory, for each fold. */
  static readonly spillBytes: number = 16 * width

  get start(): Code {
    return [set(this.total, this.identity), this.clear]
  }

  private get clear(): Code {
    return [...this.wide, this.single, this.tail].map((local) => set(local, v128.splatF32(this.identity)))
  }

  /** Where vector `vector` of a step goes; of a scalar step, lane 0 counts. */
  accumulator({ vectors, scalar }: RowStep, vector: number): Local {
    return (scalar ? this.tail : vectors === 1 ? this.single : this.wide[vector]) ?? this.single
  }

  add(step: RowStep, vector: number, value: Code): Code {
    const local = this.accumulator(step, vector)
    return set(local, this.fold(local, value))
  }

  /** Adjacent stores, so that the bundle's vectors become 256 bits wide; then all lanes, (0, 2) with (1, 3). */
  get endBlock(): Code {
    const { single, fold, foldScalars } = this
    const spilled = (u: number): Code => v128.load(this.spill, 16 * u)
    const lane = (k: number): Code => f32x4.extract(single, k)
    return [
      this.wide.map((local, u) => v128.store(this.spill, settled(local), 16 * u)),
      set(single, fold(single, fold(fold(spilled(0), spilled(1)), fold(spilled(2), spilled(3))))),
      set(this.total, foldScalars(this.total, foldScalars(foldScalars(foldScalars(lane(0), lane(2)), foldScalars(lane(1), lane(3))), f32x4.extract(this.tail, 0)))),
      this.clear,
    ]
  }
}
