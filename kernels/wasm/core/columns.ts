/**
 * Work on independent lines: positions of some axes, at each of which a kernel walks another axis.
 * Where an axis is contiguous in every operand its positions fill vector lanes, and an item is 16 of
 * them (a cache line); otherwise an item is a single line.
 */
import { mergeStrides } from '../../ir/axes.ts'
import { advance, type Code, type FunctionBuilder, i32, type Local, loopRange, loopWhile, minimum, set } from './assembler.ts'
import { type Arguments, begin, end, Nest } from './arguments.ts'

const blockLines = 16

export interface LineOperand {
  readonly address: Local
  /** In elements of 4 bytes, one for each axis of the lines. */
  readonly strides: readonly number[]
  /** Lines that share a vector read the same element here. */
  readonly shared?: boolean
}

export class Columns {
  readonly items: number
  readonly key: string
  private readonly nest: Nest
  private readonly vectors: boolean
  private readonly lines: Local
  private readonly blocks: Local
  private readonly operands: readonly LineOperand[]

  constructor(args: Arguments, sizes: readonly number[], operands: readonly LineOperand[]) {
    const merged = mergeStrides(sizes, operands.map((o) => o.strides))
    const fits = (axis: number): boolean => operands.every((o, k) => merged.strides[k]?.[axis] === (o.shared === true ? 0 : 1))
    const lane = merged.sizes.findIndex((_, axis) => fits(axis))
    const rest = <T>(values: readonly T[]): T[] => values.filter((_, axis) => axis !== lane)
    const lines = lane < 0 ? 1 : (merged.sizes[lane] ?? 1)
    const blocks = Math.ceil(lines / blockLines)
    this.operands = operands
    this.vectors = lane >= 0
    this.nest = new Nest(args, rest(merged.sizes), merged.strides.map((s) => rest(s).map((x) => 4 * x)))
    this.lines = args.number(lines)
    this.blocks = args.number(blocks)
    this.items = sizes.some((n) => n === 0) ? 0 : this.nest.size * blocks
    this.key = `${this.nest.key}${this.vectors ? 'v' : ''}`
  }

  /** Runs `body` for the lines of each item: `vectors` vectors of them, or one line in lane 0; `at` has the operands' addresses for the first. */
  each(f: FunctionBuilder, body: (at: readonly Local[], vectors: number, scalar: boolean) => Code): Code {
    const [item, position, left] = [f.local('i32'), f.local('i32'), f.local('i32')]
    const at = this.operands.map(() => f.local('i32'))
    const run = (vectors: number, scalar: boolean): Code => {
      const width = scalar ? 1 : 4 * vectors
      return loopWhile(i32.ge(left, width), [
        body(at, vectors, scalar),
        this.operands.map((o, k) => { const a = at[k]; return a === undefined || o.shared === true ? [] : advance(a, 4 * width) }),
        set(left, i32.sub(left, width)),
      ])
    }
    const firstLine = i32.mul(i32.remu(item, this.blocks), blockLines)
    return loopRange(item, begin, end, 1, [
      set(left, firstLine),
      this.operands.map((o, k) => {
        const a = at[k]
        return a === undefined ? [] : set(a, o.shared === true ? o.address : i32.add(o.address, i32.shl(left, 2)))
      }),
      set(left, minimum(i32.sub(this.lines, left), blockLines)),
      set(position, i32.divu(item, this.blocks)),
      this.nest.locate(f, position, at),
      this.vectors ? [run(4, false), run(1, false)] : [],
      run(1, true),
    ])
  }
}
