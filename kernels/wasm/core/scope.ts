/**
 * Where vector code is written: shared constants, temporaries, and the statements of the current block.
 * V8 turns two adjacent 128-bit operations into one 256-bit operation only if no temporary is carried
 * around the loop, hence `clear`, and only if both use one constant, hence constants in locals. What it has made
 * 256 bits wide no single vector may use, too, hence a second set of constants: see docs/cpu.md.
 */
import { type Code, type FunctionBuilder, type Local, set, v128, type ValueType } from './assembler.ts'

const bitsOf = (value: number): number => new Int32Array(new Float32Array([value]).buffer)[0] ?? 0

/** Bytes of a v128 with `bits` in each of its four lanes. */
function splatBytes(bits: number): number[] {
  const bytes = [...new Uint8Array(new Int32Array([bits]).buffer)]
  return [...bytes, ...bytes, ...bytes, ...bytes]
}

export class VectorScope {
  /** Sets the constants; runs once, before all loops. */
  readonly setup: Code[] = []
  private readonly f: FunctionBuilder
  /** Never set. */
  private readonly zero: Local
  private readonly paired = new Map<string, Code>()
  private readonly single = new Map<string, Code>()
  private constants = this.paired
  private readonly temporaries: Local[] = []
  private taken = 0
  private blockStart = 0
  private readonly named = new Set<Code>()
  private statements: Code[] = []

  constructor(f: FunctionBuilder) {
    this.f = f
    this.zero = f.local('v128')
  }

  /** A vector of four equal floats. */
  f32(value: number): Code {
    return this.i32(bitsOf(value))
  }

  /** A vector of four equal 32-bit integers, or bit patterns. */
  i32(bits: number): Code {
    return this.bytes(splatBytes(bits))
  }

  /** A constant vector. */
  bytes(bytes: readonly number[]): Code {
    const key = bytes.join()
    const known = this.constants.get(key)
    if (known !== undefined) return known
    const local = this.f.local('v128')
    this.setup.push(set(local, v128.const(bytes)))
    this.named.add(local)
    this.constants.set(key, local)
    return local
  }

  /** What `write` makes, for bundles of `width` vectors: one alone shares no constant with those that come in pairs. */
  within<T>(width: number, write: () => T): T {
    const outside = this.constants
    this.constants = width === 1 ? this.single : this.paired
    const result = write()
    this.constants = outside
    return result
  }

  emit(...code: readonly Code[]): void {
    this.statements.push(...code)
  }

  /** Computes `x` once, now; the result can be used any number of times until its temporaries are released. */
  keep(x: Code): Code {
    return this.named.has(x) ? x : this.assign(this.temporary(), x)
  }

  /** A temporary that is zero at the start of every round of a loop that ends with `clear`. */
  temporary(): Local {
    let local = this.temporaries[this.taken]
    if (local === undefined) {
      local = this.f.local('v128')
      this.temporaries.push(local)
    }
    this.taken += 1
    return local
  }

  /** A vector, or another value, that lives across loops. */
  variable(type: ValueType = 'v128'): Local {
    return this.f.local(type)
  }

  assign(local: Local, x: Code): Code {
    this.emit(set(local, x))
    return this.read(local)
  }

  /** The value of `local`, marked as free to repeat. */
  read(local: Local): Code {
    this.named.add(local)
    return local
  }

  /** Keeps the `count` results of `compute` and releases the temporaries that it took. */
  compute(count: number, compute: () => readonly Code[]): Code[] {
    const results = Array.from({ length: count }, () => this.temporary())
    const mark = this.taken
    const computed = compute()
    const codes = results.map((result, i) => this.assign(result, computed[i] ?? []))
    this.taken = mark
    return codes
  }

  /** The statements that `write` emits, instead of appending them here. Temporaries taken inside are released. */
  block(write: () => void): Code {
    const outside = this.statements
    const outsideStart = this.blockStart
    const inside: Code[] = []
    this.statements = inside
    this.blockStart = this.taken
    write()
    this.statements = outside
    this.taken = this.blockStart
    this.blockStart = outsideStart
    return inside
  }

  /** Clears the temporaries that this block has taken so far: the last code in a loop's body, so that none lives on into the next round. */
  get clear(): Code {
    return this.temporaries.slice(this.blockStart).map((local) => set(local, this.zero))
  }
}
