/**
 * Trials of 256-bit code. No kernel is trusted because its like was right: before a plan may use one, it runs twice on drawn data, as V8's
 * revectorizer compiled it and without that, and must write the same bits. A kernel that has a small launch, meant to take all of its paths,
 * is tried with that; of others the first and last items of the plan's launch run, again for each combination of sizes, strides and offsets.
 */
import type { MemoryImport } from '../../../kernels/wasm/core/assembler.ts'
import type { WasmKernel } from '../../../kernels/wasm/core/kernel.ts'
import { writesOf } from '../../compile/plan.ts'
import type { Launch, Plan } from '../../compile/plan.ts'
import type { DType } from '../../dtype.ts'
import { at } from '../../shape.ts'
import type { Call } from '../rules/table.ts'

/** Items of either end of a launch that are run. */
const endItems = 2
/** A small launch of more runs in part, too. */
const smallItems = 64
/** Where the first operand lies, and the least that lies between two, in bytes. */
const [start, gap] = [65_536, 1024]
/** So much of either end of an operand is filled and compared, in bytes, where items of either end run: what lies between costs nothing until it is touched. */
const endBytes = 2 ** 16
/** And from where a small launch begins. */
const smallBytes = 2 ** 18
/** Bytes of memory for the trials of a plan; larger operands get their own. */
const keptBytes = 2 ** 27

const drawn = (i: number): number => (Math.imul(i + 1, 2654435761) >>> 0) / 2 ** 32

/**
 * Two kinds of data, by the number of an element: a 0 that nobody gave must not pass for one of them. Numbers near 1, of which many have
 * a product, and all true; and mostly negative ones between 2⁻⁷ and 4, about as many in each binade, and mostly false.
 */
const kinds: readonly ((i: number) => number)[] = [
  (i) => 1 + 0.06 * (drawn(i) - 0.5),
  (i) => (i % 7 === 3 ? 1 : -1) * 2 ** (9 * drawn(i) - 7),
]

/** A prime number of elements, which no row or tile repeats with. */
const period = 1021

function pattern(dtype: DType, list: Float32Array<ArrayBuffer>): Uint8Array {
  switch (dtype) {
    case 'i32': case 'u32': return new Uint8Array(Int32Array.from(list, (x) => 100 * x).buffer)
    case 'bf16': return new Uint8Array(new Uint16Array(list.buffer).filter((_, i) => i % 2 === 1).buffer)
    case 'u8': return Uint8Array.from(list, (x) => 100 * Math.abs(x))
    case 'bool': return Uint8Array.from(list, (x) => (x > 0 ? 1 : 0))
    default: return new Uint8Array(list.buffer)
  }
}

type KernelFunction = (begin: number, end: number, ...args: number[]) => void

/** A module as the revectorizer compiled it, and without it. */
export interface TrialModule {
  readonly wide: WebAssembly.Module
  readonly plain: WebAssembly.Module
}

/** A piece of memory that a launch uses. */
interface Piece {
  readonly address: number
  readonly bytes: number
}

interface Operand extends Piece {
  readonly dtype: DType
}

/** Two memories with the same contents: 256-bit code works on one, its like on the other. */
class Arena {
  private readonly wide: WebAssembly.Memory
  private readonly plain: WebAssembly.Memory
  private readonly instances = new Map<TrialModule, readonly WebAssembly.Exports[]>()

  constructor(bytes: number, { shared, maximum }: MemoryImport) {
    const initial = Math.ceil(bytes / 65_536)
    this.wide = new WebAssembly.Memory({ initial, maximum, shared })
    this.plain = new WebAssembly.Memory({ initial, maximum, shared })
  }

  /** Calls a function of a module in both memories. */
  call(module: TrialModule, name: string, ...args: readonly [begin: number, end: number, ...rest: number[]]): void {
    const instances = this.instances.get(module) ?? [
      new WebAssembly.Instance(module.wide, { env: { memory: this.wide } }).exports,
      new WebAssembly.Instance(module.plain, { env: { memory: this.plain } }).exports,
    ]
    this.instances.set(module, instances)
    for (const exports of instances) (exports[name] as KernelFunction)(...args)
  }

  write(address: number, words: ArrayLike<number>): void {
    for (const { buffer } of [this.wide, this.plain]) new Int32Array(buffer, address, words.length).set(words)
  }

  /** Repeats bytes over a piece of memory. */
  fill(pattern: Uint8Array, { address, bytes }: Piece): void {
    for (const { buffer } of [this.wide, this.plain]) {
      const target = new Uint8Array(buffer, address, bytes)
      target.set(pattern.subarray(0, bytes))
      for (let done = pattern.length; done < bytes; done *= 2) target.copyWithin(done, 0, done)
    }
  }

  /** Whether both memories hold the same. */
  agree({ address, bytes }: Piece): boolean {
    const words = bytes >> 2
    const [x, y] = [new Int32Array(this.wide.buffer, address, words), new Int32Array(this.plain.buffer, address, words)]
    for (let i = 0; i < words; i++) if (x[i] !== y[i]) return false
    const [xs, ys] = [this.wide, this.plain].map(({ buffer }) => new Uint8Array(buffer, address + 4 * words, bytes - 4 * words))
    return xs?.every((byte, i) => byte === ys?.[i]) === true
  }
}

/** Both ends of an operand, which may be all of it. */
function endsOf({ address, bytes, dtype }: Operand): Operand[] {
  if (bytes <= 2 * endBytes) return [{ address, bytes, dtype }]
  return [address, address + bytes - endBytes].map((end) => ({ address: end, bytes: endBytes, dtype }))
}

/** A launch and where its operands lie. */
class Trial {
  readonly bytes: number
  private readonly call: Call<WasmKernel>
  /** By the number of a buffer in the plan. */
  private readonly pieces = new Map<number, Operand>()
  /** Lists of addresses and the table. */
  private readonly tables: readonly Piece[]
  private readonly scratch: number
  private readonly filled: readonly Operand[]
  private readonly compared: readonly Piece[]
  /** How many items may run at once; of more, both ends do. */
  private readonly mostItems: number

  /** `written`: buffers of the plan. `small`: a small launch, of which more is run and compared. */
  constructor(call: Call<WasmKernel>, written: ReadonlySet<number>, { buffers }: Plan, small: boolean) {
    const { kernel: { args, table, scratchBytes = 0 } } = call
    let next = start
    const place = (bytes: number): Piece => {
      const address = next
      next += Math.ceil((bytes + gap) / 64) * 64
      return { address, bytes }
    }
    for (const buffer of new Set(call.buffers)) {
      const { bytes, dtype } = at(buffers, buffer)
      this.pieces.set(buffer, { ...place(bytes), dtype })
    }
    const lists = args.flatMap((arg) => (typeof arg === 'object' && 'pointers' in arg ? arg.pointers.length : []))
    this.tables = [...lists, ...(table === undefined ? [] : [table.length])].map((words) => place(4 * words))
    this.scratch = place(scratchBytes).address
    this.bytes = next
    this.call = call
    this.mostItems = small ? smallItems : 2 * endItems
    const touched = [...this.pieces].map(([buffer, piece]) => ({ buffer, parts: small ? this.beginnings(buffer, piece) : endsOf(piece) }))
    this.filled = touched.flatMap(({ parts }) => parts)
    this.compared = touched.filter(({ buffer }) => written.has(buffer)).flatMap(({ parts }) => parts)
  }

  /** Whether both memories hold the same after both ends of the launch have run in them, with either kind of data. */
  agrees(arena: Arena, { module, name }: TrialFunction, patternOf: (dtype: DType, kind: number) => Uint8Array): boolean {
    const { items } = this.call.kernel
    const numbers = this.arguments(arena)
    const parts = items <= this.mostItems ? [[0, items]] : [[0, endItems], [items - endItems, items]]
    return kinds.every((_, kind) => {
      for (const piece of this.filled) arena.fill(patternOf(piece.dtype, kind), piece)
      for (const [from = 0, to = 0] of parts) arena.call(module, name, from, to, ...numbers)
      return this.compared.every((piece) => arena.agree(piece))
    })
  }

  /** Of a buffer, what begins where an argument points. */
  private beginnings(buffer: number, { address, bytes, dtype }: Operand): Operand[] {
    const { kernel: { args }, buffers } = this.call
    const offsets = args.flatMap((arg) => (typeof arg === 'object' && 'buffer' in arg && at(buffers, arg.buffer) === buffer ? [arg.byteOffset] : []))
    return [...new Set(offsets.length === 0 ? [0] : offsets)].map((offset) => ({ address: address + offset, bytes: Math.min(bytes - offset, this.call.kernel.bytes, smallBytes), dtype }))
  }

  private arguments(arena: Arena): number[] {
    const { kernel: { args, table }, buffers } = this.call
    const addressOf = (operand: number): number => this.pieces.get(at(buffers, operand))?.address ?? 0
    let list = 0
    const write = (words: ArrayLike<number>): number => {
      const { address } = at(this.tables, list++)
      arena.write(address, words)
      return address
    }
    const numbers = args.map((arg) => {
      if (typeof arg === 'number') return arg
      if (arg === 'scratch') return this.scratch
      return 'buffer' in arg ? addressOf(arg.buffer) + arg.byteOffset : write(arg.pointers.map(addressOf))
    })
    return table === undefined ? numbers : [...numbers, write(table)]
  }
}

/** A function of a module. */
export interface TrialFunction {
  readonly module: TrialModule
  readonly name: string
}

export class Trials {
  private readonly memory: MemoryImport
  private readonly passed = new Set<string>()
  private lists: readonly Float32Array<ArrayBuffer>[] | undefined
  private readonly patterns = new Map<string, Uint8Array>()
  private kept: Arena | undefined

  /** `memory`: what modules import. */
  constructor(memory: MemoryImport) {
    this.memory = memory
  }

  /** Whether a kernel does a launch in 256 bits as it does it without. */
  passes(kernel: TrialFunction, call: Call<WasmKernel>, launch: Launch, plan: Plan): boolean {
    const { key, args, items, small } = call.kernel
    if (items === 0 || this.passed.has(key)) return true
    const smaller = small?.()
    const numbers = args.map((arg) => (typeof arg === 'object' && 'buffer' in arg ? arg.byteOffset : typeof arg === 'number' ? arg : ''))
    const what = smaller === undefined ? `${key}|${items}|${numbers.join()}` : key
    if (this.passed.has(what)) return true
    const tried = smaller === undefined ? call : { kernel: smaller.kernel, buffers: smaller.operands?.map((operand) => at(call.buffers, operand)) ?? call.buffers }
    const trial = new Trial(tried, new Set(writesOf(launch).map(({ buffer }) => buffer)), plan, smaller !== undefined)
    if (trial.bytes > 65_536 * this.memory.maximum) return true // More than the device has: it will not run.
    const agrees = this.agrees(trial, kernel)
    if (agrees) this.passed.add(what)
    return agrees
  }

  /** Not if it cannot be tried, for want of memory or because a trial of drawn data traps. */
  private agrees(trial: Trial, kernel: TrialFunction): boolean {
    try {
      return trial.agrees(this.room(trial.bytes), kernel, (dtype, kind) => this.patternOf(dtype, kind))
    } catch (error) {
      if (error instanceof RangeError || error instanceof WebAssembly.RuntimeError) return false
      throw error
    }
  }

  /** Lets go of memory, until the next trial. */
  rest(): void {
    this.kept = undefined
  }

  private patternOf(dtype: DType, kind: number): Uint8Array {
    this.lists ??= kinds.map((draw) => Float32Array.from({ length: period }, (_, i) => draw(i)))
    const known = this.patterns.get(`${dtype}${kind}`) ?? pattern(dtype, at(this.lists, kind))
    this.patterns.set(`${dtype}${kind}`, known)
    return known
  }

  private room(bytes: number): Arena {
    if (bytes > keptBytes) return new Arena(bytes, this.memory)
    this.kept ??= new Arena(keptBytes, this.memory)
    return this.kept
  }
}
