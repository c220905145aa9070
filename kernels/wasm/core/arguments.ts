/**
 * Parameters of a kernel, in one place: each call declares an argument of the launch and gives the
 * local that holds it inside the function, so that the two lists cannot fall out of step.
 */
import { mergeStrides } from '../../ir/axes.ts'
import { advance, type Code, FunctionBuilder, i32, type Local, set } from './assembler.ts'
import type { Argument } from './kernel.ts'

/** First item of the launch, and the one after the last. */
export const begin: Local = { index: 0, type: 'i32' }
export const end: Local = { index: 1, type: 'i32' }

export class Arguments {
  readonly list: Argument[] = []
  private hasTable = false

  private add(argument: Argument): Local {
    this.list.push(argument)
    return { index: this.list.length + 1, type: 'i32' }
  }

  buffer(buffer: number, byteOffset = 0): Local {
    return this.add({ buffer, byteOffset })
  }

  pointers(buffers: readonly number[]): Local {
    return this.add({ pointers: buffers })
  }

  number(value: number): Local {
    return this.add(value | 0)
  }

  /** The bits of an f32. */
  float(value: number): Local {
    return this.add(new Int32Array(new Float32Array([value]).buffer)[0] ?? 0)
  }

  scratch(): Local {
    return this.add('scratch')
  }

  /** The kernel's table; declared last. */
  table(): Local {
    this.hasTable = true
    return { index: this.list.length + 2, type: 'i32' }
  }

  /** The function, its parameters laid out as declared. */
  open(): FunctionBuilder {
    return new FunctionBuilder(Array.from({ length: this.list.length + 2 + (this.hasTable ? 1 : 0) }, () => 'i32' as const))
  }
}

/** Axes counted by one number, and what each of several operands moves along them, in bytes. */
export class Nest {
  /** What the code depends on. */
  readonly key: string
  readonly size: number
  private readonly axes: readonly { size: Local; steps: readonly Local[] }[]

  /** `strides` in bytes: one list for each operand, an entry for each axis. Mergeable axes are merged. */
  constructor(args: Arguments, sizes: readonly number[], strides: readonly (readonly number[])[]) {
    const merged = mergeStrides(sizes, strides)
    this.size = sizes.reduce((product, n) => product * n, 1)
    this.axes = merged.sizes.map((size, axis) => ({ size: args.number(size), steps: merged.strides.map((s) => args.number(s[axis] ?? 0)) }))
    this.key = `${merged.sizes.length}x${strides.length}`
  }

  /** Sets each of `addresses` to where position `item` of an operand lies that begins at the address of the same number in `origins`. */
  place(f: FunctionBuilder, item: Local, addresses: readonly Local[], origins: readonly Local[]): Code {
    const rest = f.local('i32')
    return [addresses.map((address, o) => set(address, origins[o] ?? address)), set(rest, item), this.locate(f, rest, addresses)]
  }

  /** Moves each of `addresses` (locals holding base addresses) to position `item`, which it destroys. */
  locate(f: FunctionBuilder, item: Local, addresses: readonly Local[]): Code {
    const at = f.local('i32')
    return this.axes.toReversed().map(({ size, steps }, k) => [
      k === this.axes.length - 1 ? set(at, item) : [set(at, i32.remu(item, size)), set(item, i32.divu(item, size))],
      addresses.map((address, o) => {
        const step = steps[o]
        return step === undefined ? [] : advance(address, i32.mul(at, step))
      }),
    ])
  }
}
