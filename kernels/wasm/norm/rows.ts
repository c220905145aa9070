/**
 * Rows, one an item: where they lie, the walk over their elements, and sums or maxima over them. Rows whose elements are
 * not neighbours are copied to scratch, worked on there and copied back, so that the arithmetic is that of contiguous rows.
 */
import { advance, type Code, f32, f32x4, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set, settled, v128 } from '../core/assembler.ts'
import type { Strided } from '../../ir/descriptor.ts'
import { type Arguments, begin, end } from '../core/arguments.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { Lanes } from '../core/lanes.ts'
import { rounds, type Step } from '../core/rounds.ts'
import { ScratchAreas } from '../core/scratch.ts'

/** A kernel over rows of operands. */
export interface RowKernel {
  /** What the code depends on, but for layouts and target. */
  readonly name: string
  readonly rows: number
  readonly length: number
  /** The buffer of each operand, and how it lies. The last one is written. */
  readonly operands: readonly (readonly [buffer: number, rows: Strided])[]
  /** Of an element. */
  readonly flops: number
}

/** What there is to write the code of a row with. */
export interface RowCode {
  readonly f: FunctionBuilder
  readonly lanes: Lanes
  readonly fold: (op: 'sum' | 'max') => RowFold
  /** Walks over arrays: operands by number, others, which all rows share, by address. */
  readonly walk: (arrays: readonly (number | Local)[], folds: readonly RowFold[], body: (step: RowStep) => Code) => Code
  /** A sum by the length. */
  readonly average: (sum: RowFold) => Code
  /** Address of the row's number in an array of one for each row. */
  readonly ofRow: (array: Local) => Code
}

/** Folds that a kernel has at most. */
const mostFolds = 3

export function rowKernel(args: Arguments, { name, rows, length, operands, flops }: RowKernel, target: WasmTarget, body: (row: RowCode) => Code): WasmKernel {
  const areas = new ScratchAreas(args)
  const lying = operands.map(([buffer, strided]) => new Rows(args, areas, buffer, strided, length))
  const spills = Array.from({ length: mostFolds }, () => areas.area(foldBytes))
  const [count, size] = [args.number(length), args.float(length)]
  return {
    key: `${name} ${lying.map((o) => o.contiguous).join('')}${target.relaxed ? ' relaxed' : ''}`,
    args: args.list,
    items: length === 0 ? 0 : rows,
    scratchBytes: areas.bytes,
    flops: flops * rows * length,
    bytes: 4 * operands.length * rows * length,
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const item = f.local('i32')
      const bases = lying.map(() => f.local('i32'))
      const free = [...spills]
      const code = body({
        f, lanes,
        fold: (op) => new RowFold(f, lanes, free.shift() ?? item, 0, op),
        walk: (arrays, folds, step) => walkRow(f, lanes, arrays.map((a) => (typeof a === 'number' ? (bases[a] ?? item) : a)), count, folds, step),
        average: ({ total }) => f32.div(total, f32.reinterpretI32(size)),
        ofRow: (array) => i32.add(array, i32.shl(item, 2)),
      })
      f.emit(lanes.setup, areas.prologue(), loopRange(item, begin, end, 1, [
        lying.map((o, k) => set(bases[k] ?? item, o.room(item))),
        lying.slice(0, -1).map((o) => o.read(f, item, count)),
        code,
        lying.slice(-1).map((o) => o.write(f, item, count)),
      ]))
      return f
    },
  }
}

/** An operand whose rows are worked on in place if their elements are neighbours, and in scratch otherwise. */
class Rows {
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

  /** Address of contiguous room for row `item`. */
  room(item: Local): Code {
    return this.copy ?? this.at(item)
  }

  private at(item: Local): Code {
    return i32.add(this.address, i32.mul(item, this.row))
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
      set(far, this.at(item)),
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

/** One step of a walk. */
export interface RowStep extends Step {
  /** A local for each vector. */
  readonly values: readonly Local[]
}

/** Walks rows at `bases`, by bundles, single vectors, then single elements. `body` has the code of one step; `folds` are those that it uses. */
export function walkRow(f: FunctionBuilder, lanes: Lanes, bases: readonly Local[], length: Local, folds: readonly RowFold[], body: (step: RowStep) => Code): Code {
  const pointers = bases.map(() => f.local('i32'))
  const [left, rest] = [f.local('i32'), f.local('i32')]
  const run = (vectors: number, scalar: boolean): Code => rounds(lanes, pointers, left, vectors, scalar, (step) => body({ ...step, values: lanes.temporaryList(vectors) }))
  return [
    pointers.map((pointer, k) => set(pointer, bases[k] ?? pointer)),
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

/** Of scratch memory, for each fold. */
export const foldBytes: number = 16 * width

/** A sum or a maximum over a row. */
export class RowFold {
  /** The result, an f32, after the walk. */
  readonly total: Local
  private readonly wide: readonly Local[]
  private readonly single: Local
  private readonly tail: Local
  private readonly lanes: Lanes
  private readonly spill: Local
  private readonly offset: number
  private readonly identity: number
  private readonly fold: (x: Code, y: Code) => Code
  private readonly foldScalars: (x: Code, y: Code) => Code

  /** `foldBytes` of scratch memory lie `offset` bytes behind `spill`. A maximum passes NaN over. */
  constructor(f: FunctionBuilder, lanes: Lanes, spill: Local, offset: number, op: 'sum' | 'max') {
    const vector = (): Local => f.local('v128')
    this.total = f.local('f32')
    this.wide = Array.from({ length: width }, vector)
    this.single = vector()
    this.tail = vector()
    this.lanes = lanes
    this.spill = spill
    this.offset = offset
    this.identity = op === 'sum' ? 0 : -Infinity
    this.fold = op === 'sum' ? f32x4.add : f32x4.pmax
    this.foldScalars = op === 'sum' ? f32.add : f32.max
  }

  get start(): Code {
    return [set(this.total, this.identity), this.clear]
  }

  private get clear(): Code {
    return [...this.wide, this.single, this.tail].map((local) => set(local, v128.splatF32(this.identity)))
  }

  /** Where vector `vector` of a step goes; of a scalar step, lane 0 counts. */
  private accumulator({ vectors, scalar }: Step, vector: number): Local {
    return (scalar ? this.tail : vectors === 1 ? this.single : this.wide[vector]) ?? this.single
  }

  add(step: Step, vector: number, value: Code): Code {
    const local = this.accumulator(step, vector)
    return set(local, this.fold(local, value))
  }

  addProduct(step: Step, vector: number, x: Code, y: Code): Code {
    const local = this.accumulator(step, vector)
    return set(local, this.lanes.madd(x, y, local))
  }

  /** Adjacent stores, so that the bundle's vectors become 256 bits wide; then all lanes, (0, 2) with (1, 3). */
  get endBlock(): Code {
    const { single, fold, foldScalars } = this
    const spilled = (u: number): Code => v128.load(this.spill, this.offset + 16 * u)
    const lane = (k: number): Code => f32x4.extract(single, k)
    return [
      this.wide.map((local, u) => v128.store(this.spill, settled(local), this.offset + 16 * u)),
      set(single, fold(single, fold(fold(spilled(0), spilled(1)), fold(spilled(2), spilled(3))))),
      set(this.total, foldScalars(this.total, foldScalars(foldScalars(foldScalars(lane(0), lane(2)), foldScalars(lane(1), lane(3))), f32x4.extract(this.tail, 0)))),
      this.clear,
    ]
  }
}
