/** The CPU device's kernels: compiled into modules, tried, and numbered as the threads number them. */
import { encodeModule, markModule } from '../../../kernels/wasm/core/assembler.ts'
import type { MemoryImport } from '../../../kernels/wasm/core/assembler.ts'
import type { WasmKernel } from '../../../kernels/wasm/core/kernel.ts'
import type { Plan } from '../../compile/plan.ts'
import { at } from '../../shape.ts'
import type { Call } from '../rules/table.ts'
import { compile } from './instructions.ts'
import type { InstructionLevel } from './instructions.ts'
import type { Threads } from './threads.ts'
import { Trials } from './trials.ts'
import type { TrialFunction } from './trials.ts'

export interface ModulesOptions {
  readonly memory: MemoryImport
  readonly threads: Pick<Threads, 'addModule'>
  readonly level: InstructionLevel
  /** Whether V8's flags may be touched. */
  readonly experimental: boolean
  /** Whether 256-bit code is tried before it is used. */
  readonly trials: boolean
}

export class Modules {
  /** Keys of kernels that failed a trial, or could not be tried: 128-bit code does their work. */
  readonly failed: string[] = []
  private readonly options: ModulesOptions
  private readonly trials: Trials | undefined
  /** Their number in every thread, by key. */
  private readonly numbers = new Map<string, number>()
  /** Those that run in 256 bits. */
  private readonly wide = new Map<string, TrialFunction>()
  private count = 0
  private turn: Promise<void> = Promise.resolve()

  constructor(options: ModulesOptions) {
    this.options = options
    this.trials = options.level === 'wide' && options.trials ? new Trials(options.memory) : undefined
  }

  /** Kernels compiled so far. */
  get size(): number {
    return this.numbers.size
  }

  numberOf({ key }: WasmKernel): number {
    const number = this.numbers.get(key)
    if (number === undefined) throw new RangeError(`kernel ${key} was not compiled`)
    return number
  }

  /** Compiles what a plan needs and is not there. One plan at a time: kernels are numbered in the order in which threads get them. */
  async compile(plan: Plan, calls: readonly Call<WasmKernel>[]): Promise<void> {
    const turn = this.turn.then(async () => this.add(plan, calls))
    this.turn = turn.catch(() => undefined)
    return turn
  }

  private async add(plan: Plan, calls: readonly Call<WasmKernel>[]): Promise<void> {
    const { level, memory } = this.options
    const fresh = new Map(calls.filter(({ kernel: { key } }) => !this.numbers.has(key)).map(({ kernel }) => [kernel.key, kernel]))
    const functions = new Map([...fresh.values()].map((kernel, i) => [`k${i}`, kernel.build()]))
    if (fresh.size > 0) {
      const bytes = encodeModule(functions, memory)
      const module = await this.module(bytes, level)
      this.hand(module, [...fresh.keys()], [...functions.keys()])
      if (this.trials !== undefined) {
        const both = { wide: module, plain: new WebAssembly.Module(markModule(bytes, 'trial')) }
        ;[...fresh.keys()].forEach((key, i) => this.wide.set(key, { module: both, name: `k${i}` }))
      }
    }
    for (const [i, call] of calls.entries()) {
      const { key } = call.kernel
      const wide = this.wide.get(key)
      if (wide === undefined || this.trials?.passes(wide, call, at(plan.launches, i), plan) !== false) continue
      this.wide.delete(key)
      this.failed.push(key)
      const alone = encodeModule(new Map([['k', call.kernel.build()]]), memory)
      this.hand(await this.module(alone, 'relaxed'), [key], ['k'])
    }
    this.trials?.rest()
  }

  private async module(bytes: Uint8Array<ArrayBuffer>, level: InstructionLevel): Promise<WebAssembly.Module> {
    return compile(markModule(bytes, level), level, this.options.experimental)
  }

  /** Gives functions of a module to the threads, under the next numbers. */
  private hand(module: WebAssembly.Module, keys: readonly string[], names: readonly string[]): void {
    this.options.threads.addModule(module, names)
    for (const key of keys) this.numbers.set(key, this.count++)
  }
}
