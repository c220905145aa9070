/**
 * Which vector instructions the CPU device's kernels use: plain WebAssembly SIMD, relaxed SIMD (fused multiply-add), or
 * `wide`, relaxed SIMD that V8's experimental revectorizer joins into 256-bit instructions. A self-test decides about
 * the last: the same bits as without, and faster.
 */
import { compileOptimised, javaScriptEngine, revectorizerMissing } from '#platform'
import type { Epilogue } from '../../../kernels/ir/descriptor.ts'
import { accumulator, binary, load, unary } from '../../../kernels/ir/expression.ts'
import { placeAlone } from '../../../kernels/wasm/core/alone.ts'
import type { AloneKernel } from '../../../kernels/wasm/core/alone.ts'
import { FunctionBuilder, encodeModule, f32x4, i32, markModule, v128 } from '../../../kernels/wasm/core/assembler.ts'
import type { WasmKernel, WasmTarget } from '../../../kernels/wasm/core/kernel.ts'
import { mapKernel } from '../../../kernels/wasm/elementwise/map.ts'
import { matmulKernel } from '../../../kernels/wasm/matmul/matmul.ts'
import { ConfigError, DeviceError } from '../../error.ts'

export type InstructionLevel = 'simd128' | 'relaxed' | 'wide'
export const instructionLevels: readonly InstructionLevel[] = ['simd128', 'relaxed', 'wide']

/** What was chosen and why. */
export interface Instructions {
  readonly level: InstructionLevel
  readonly why: string
}

/** Compiles a module for a level. Without `experimental`, or where there are no such flags, as the engine sees fit. */
export function compile(bytes: Uint8Array<ArrayBuffer>, level: InstructionLevel, experimental: boolean): WebAssembly.Module | Promise<WebAssembly.Module> {
  return experimental && compileOptimised !== undefined ? compileOptimised(bytes, level === 'wide') : WebAssembly.compile(bytes)
}

export const targetOf = (level: InstructionLevel): WasmTarget => ({ relaxed: level !== 'simd128', wide: level === 'wide' })

/**
 * The level asked for, or the best there is. Throws ConfigError for a level that does not exist or contradicts
 * `experimental`, DeviceError for one that is not to be had here. `problem` says what speaks against `wide`.
 */
export function chooseInstructions(asked: InstructionLevel | undefined, experimental: boolean, problem: () => string | undefined = () => revectorizerMissing() ?? selfTest()): Instructions {
  if (asked !== undefined && !instructionLevels.includes(asked)) throw new ConfigError(`device: instructions is ${JSON.stringify(asked)}; use "simd128", "relaxed" or "wide"`)
  if (asked === 'wide' && !experimental) throw new ConfigError('device: instructions "wide" needs an experimental flag of V8, and experimental is false; leave one of them out')
  if (asked === 'simd128') return { level: asked, why: 'asked for' }
  if (!hasRelaxedSimd()) {
    if (asked !== undefined) throw new DeviceError(`device: instructions is "${asked}", but this engine has no relaxed SIMD; use "simd128"`)
    return { level: 'simd128', why: 'the engine has no relaxed SIMD' }
  }
  if (asked === 'relaxed') return { level: asked, why: 'asked for' }
  const missing = experimental ? problem() : 'experimental flags were refused'
  if (missing === undefined) return { level: 'wide', why: asked === undefined ? 'the self-test found 256-bit code right and faster' : 'asked for, and the self-test passed' }
  if (asked === 'wide') throw new DeviceError(`device: instructions is "wide", but ${missing}; use "relaxed"`)
  return { level: 'relaxed', why: missing }
}

/** Stores x·x − x₂ for x = 1 + 2⁻¹² and x₂ = x² rounded: 2⁻²⁴ if multiply-and-add rounds once. */
function relaxedProbe(): Uint8Array<ArrayBuffer> {
  const probe = new FunctionBuilder([])
  const x = v128.splatF32(1 + 2 ** -12)
  probe.emit(v128.store(i32.const(0), f32x4.relaxedMadd(x, x, v128.splatF32(-Math.fround((1 + 2 ** -12) ** 2)))))
  return encodeModule(new Map([['probe', probe]]), { shared: false, maximum: 1 })
}

/** Whether the engine takes relaxed multiply-and-add. */
const hasRelaxedSimd = (): boolean => WebAssembly.validate(relaxedProbe())

/** What kernels compiled for a level give, but for the version of who runs them: checkpoints record it. */
export function fingerprintOf(level: InstructionLevel): string {
  const { relaxed, wide } = targetOf(level)
  return ['cpu wasm', javaScriptEngine(), 'simd128', relaxed && 'relaxed', relaxed && isFused() && 'fused', wide === true && 'wide'].filter((word) => word !== false).join(' ')
}

/** Whether relaxed multiply-and-add rounds once: the engine and the processor decide. */
function isFused(): boolean {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 })
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(relaxedProbe()), { env: { memory } })
  ;(exports['probe'] as () => void)()
  return new Float32Array(memory.buffer)[0] === 2 ** -24
}

/** Where 256-bit code is this much faster, the processor has it; measured 1.5 to 2 where it does and 0.7 where it does not. */
const leastGain = 1.2
/** At least, and at most until the gain is seen: others may use the processor at the same time. */
const rounds = { least: 10, most: 100 } as const

/** What is wrong with the `wide` level here, or undefined. Takes some 50 ms. */
function selfTest(): string | undefined {
  return compareKernels(testKernels('relaxed'), testKernels('wide'))
}

/** Why kernels compiled to 256-bit code are not to be used: other bits than the plain ones, or no faster. The first is timed. */
export function compareKernels(plain: readonly AloneKernel[], wide: readonly AloneKernel[]): string | undefined {
  const times: [plain: number, wide: number] = [Infinity, Infinity]
  for (const [i, kernel] of plain.entries()) {
    const widened = wide[i] ?? kernel
    kernel.run()
    widened.run()
    const result = widened.buffers.at(-1)
    if (kernel.buffers.at(-1)?.every((x, e) => Object.is(x, result?.[e])) !== true) return 'the self-test found wrong results in 256-bit code'
    for (let round = 0; i === 0 && round < rounds.most && (round < rounds.least || times[0] < leastGain * times[1]); round++) {
      times[0] = Math.min(times[0], timeOf(kernel))
      times[1] = Math.min(times[1], timeOf(widened))
    }
  }
  const gain = times[0] / times[1]
  return gain >= leastGain ? undefined : `256-bit code is not faster here (${gain.toFixed(2)} times)`
}

function timeOf({ run }: AloneKernel): number {
  const start = performance.now()
  run()
  return performance.now() - start
}

/** A product of whole tiles; one of odd sizes with an epilogue, and an elementwise chain. Their inputs are filled in. */
function testKernels(level: 'relaxed' | 'wide'): AloneKernel[] {
  const rows = (columns: number): { strides: number[]; offset: number } => ({ strides: [columns, 1], offset: 0 })
  const sigmoid = { inputs: [], value: unary('sigmoid', accumulator('f32')) }
  const operand = { dtype: 'f32', strides: [1], offset: 0 } as const
  const [x, y] = [load(0, 'f32'), load(1, 'f32')]
  const chain = binary('mul', binary('add', unary('sigmoid', x), unary('exp', y)), y)
  const product = (m: number, k: number, n: number, epilogue?: Epilogue): [WasmKernel, number[]] =>
    [matmulKernel({ batch: [], m, k, n, a: rows(k), b: rows(n), out: rows(n) }, targetOf(level), epilogue), [m * k, k * n, m * n]]
  const kernels: readonly (readonly [WasmKernel, readonly number[]])[] = [
    product(48, 256, 96),
    product(42, 130, 83, sigmoid),
    [mapKernel({ shape: [1003], inputs: [operand, operand], outputs: [{ operand, value: chain }] }), [1003, 1003, 1003]],
  ]
  return kernels.map(([kernel, sizes]) => {
    const placed = placeAlone(kernel, sizes, (bytes) => compileNow(markModule(bytes, level), level === 'wide'))
    placed.buffers.forEach((buffer, b) => buffer.forEach((_, i) => (buffer[i] = Math.sin(1 + b + i * 1.7))))
    return placed
  })
}

function compileNow(bytes: Uint8Array<ArrayBuffer>, wide: boolean): WebAssembly.Module {
  return compileOptimised === undefined ? new WebAssembly.Module(bytes) : compileOptimised(bytes, wide)
}
