/**
 * Positions numbered row by row over several axes (image, row, column), and linear functions of
 * them: an address, a coordinate. Stepping to the next position costs one addition a function,
 * where decoding its number would cost a division an axis.
 */
import { advance, type Code, type FunctionBuilder, i32, type Local, set, when } from './assembler.ts'

/** A linear function of a position: what each axis adds, outermost first; absent means nothing. */
export type Steps = readonly (Code | undefined)[]

export class Odometer {
  /** Values of the functions at the current position. */
  readonly values: readonly Local[]
  private readonly sizes: readonly Code[]
  private readonly functions: readonly Steps[]
  private readonly digits: readonly Local[]
  private readonly rest: Local

  constructor(f: FunctionBuilder, sizes: readonly Code[], functions: readonly Steps[]) {
    this.sizes = sizes
    this.functions = functions
    this.digits = sizes.map(() => f.local('i32'))
    this.values = functions.map(() => f.local('i32'))
    this.rest = f.local('i32')
  }

  private each(axis: number, change: (value: Local, step: Code) => Code): Code {
    return this.functions.map((steps, i) => {
      const [step, value] = [steps[axis], this.values[i]]
      return step === undefined || value === undefined ? [] : change(value, step)
    })
  }

  /** Goes to position `index`. No size may be 0. */
  seek(index: Code): Code {
    const decode = this.digits.map((digit, axis): Code => {
      const size = this.sizes[axis] ?? []
      return [
        axis === 0 ? set(digit, this.rest) : [set(digit, i32.remu(this.rest, size)), set(this.rest, i32.divu(this.rest, size))],
        this.each(axis, (value, step) => advance(value, i32.mul(digit, step))),
      ]
    })
    return [set(this.rest, index), this.values.map((value) => set(value, 0)), decode.toReversed()]
  }

  /** Goes to the next position; past the last one the values mean nothing. */
  advance(axis: number = this.digits.length - 1): Code {
    const [digit, size] = [this.digits[axis], this.sizes[axis]]
    if (digit === undefined || size === undefined) return []
    return [
      advance(digit, 1),
      this.each(axis, (value, step) => advance(value, step)),
      axis === 0
        ? []
        : when(i32.eq(digit, size), [
            set(digit, 0),
            this.each(axis, (value, step) => set(value, i32.sub(value, i32.mul(size, step)))),
            this.advance(axis - 1),
          ]),
    ]
  }
}
