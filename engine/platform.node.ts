/** What differs between Node and browsers; the twin of platform.browser.ts, chosen by package.json's `imports`. */
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import process from 'node:process'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { Worker, parentPort } from 'node:worker_threads'
import { DeviceError } from './error.ts'
import type { GpuOptions, JavaScriptEngine, Port, WorkerHandle } from './platform.ts'

export const platform = 'node' as const

/** Threads worth starting. */
export function cores(): number {
  return availableParallelism()
}

/** Whether workers can share memory with this thread. */
export function canShareMemory(): boolean {
  return true
}

/** Whether the thread that owns a device may be held up for a few milliseconds. */
export const mayHoldUp: boolean = true

/** Resolves once whatever else waits for this thread has had its turn. */
export const nextTask: () => Promise<void> = setImmediate

/**
 * Starts the CPU device's worker. It keeps the process alive only between `ref` and `unref`. Without the flags and the environment
 * of the process: a file refuses `--input-type`, and what `--import` and NODE_OPTIONS preload would run once more in each thread.
 */
export function spawnCpuWorker(receive: (message: unknown) => void, fail: (error: Error) => void): WorkerHandle {
  const file = new URL('./device/cpu/worker.ts', import.meta.url)
  if (!existsSync(file)) throw new DeviceError(`cpu: the file of the worker threads, ${file.href}, does not exist; install langevin again, or put its dist/node/cpu-worker.js there if your code is bundled`)
  const worker = new Worker(file, { execArgv: [], env: {} })
  worker.on('message', receive)
  worker.on('error', fail)
  worker.on('exit', (code) => fail(new Error(`it exited with code ${code}`)))
  worker.unref()
  return {
    post: (message) => worker.postMessage(message),
    ref: () => worker.ref(),
    unref: () => worker.unref(),
    close: async () => {
      await worker.terminate()
    },
  }
}

/** In a worker: the way back to who started it. */
export function parent(): Port {
  const port = parentPort
  if (port === null) throw new Error('not in a worker')
  return { post: (message) => port.postMessage(message), receive: (handler) => void port.on('message', handler) }
}

/** Why V8's revectorizer cannot be used, or undefined if it can be tried. It joins pairs of 128-bit operations into 256-bit ones (AVX2). */
export function revectorizerMissing(): string | undefined {
  const { v8 } = process.versions
  // Others say which V8 they stand in for.
  const other = others.find(({ name }) => name in process.versions)
  if (other !== undefined) return `256-bit code was tested in Node, and this is ${other.name}`
  const [major = 0, minor = 0] = v8.split('.').map(Number)
  if (process.arch !== 'x64') return `V8 joins vectors on x64 alone, and this is ${process.arch}`
  if (!testedV8.has(`${major}.${minor}`)) return `V8 ${v8} was not tested; tested are ${[...testedV8].join(', ')}`
  return undefined
}

/** What runs Node's programs and is not Node. */
const others: readonly { readonly name: string; readonly engine: JavaScriptEngine }[] = [{ name: 'bun', engine: 'javascriptcore' }, { name: 'deno', engine: 'v8' }]

/** The engine that compiles WebAssembly. */
export function javaScriptEngine(): JavaScriptEngine {
  return others.find(({ name }) => name in process.versions)?.engine ?? 'v8'
}

/** Of Node 24 and 26. */
const testedV8: ReadonlySet<string> = new Set(['13.6', '14.6'])

/** Optimised code from the first call on, instead of a quick compilation first. */
const optimise = ['liftoff', 'wasm-lazy-compilation'] as const
const widen = 'experimental-wasm-revectorize'

/**
 * Compiles to optimised code, 256-bit if `wide`. V8 reads its flags when it compiles, and they are those of the whole
 * process, so the compilation is synchronous and the flags are put back after it.
 */
export function compileOptimised(bytes: Uint8Array<ArrayBuffer>, wide: boolean): WebAssembly.Module {
  const off = optimise.filter((flag) => !setByUser(`no-${flag}`))
  const on = wide && !setByUser(widen)
  try {
    for (const flag of off) setFlagsFromString(`--no-${flag}`)
    if (on) setFlagsFromString(`--${widen}`)
    return new WebAssembly.Module(bytes)
  } finally {
    for (const flag of off) setFlagsFromString(`--${flag}`)
    if (on) setFlagsFromString(`--no-${widen}`)
  }
}

/** Whether Node was started with the flag, which then stays as it is. */
function setByUser(flag: string): boolean {
  return [...process.execArgv, ...(process.env['NODE_OPTIONS'] ?? '').split(' ')].some((arg) => arg.replaceAll('_', '-') === `--${flag}`)
}

/** What Linux shows of GPUs: any with a driver in the kernel, NVIDIA's own drivers, Windows below. */
const gpuFiles = ['/dev/dri', '/dev/nvidiactl', '/dev/dxg']

/** Why there can be no GPU, or undefined: found without a driver, which would write to the console that it has nothing to drive. */
export function gpuMissing(): string | undefined {
  return process.platform === 'linux' && !gpuFiles.some((file) => existsSync(file)) ? `none of ${gpuFiles.join(', ')} exists` : undefined
}

/** Whether a thread that awaits the GPU is busy meanwhile. */
export const awaitingPolls: boolean = true

/** Dawn's instances, by what was asked for. They must stay reachable: the process ends when one is collected. */
const instances = new Map<string, GPU>()

/**
 * Toggles of Dawn: timestamps as they are; f16 also on NVIDIA, whose drivers Dawn has on a list; and workgroup memory as it comes,
 * since kernels write it before they read it, and clearing it takes software drivers ten times as long to compile.
 */
const toggles = ['vulkan_enable_f16_on_nvidia', 'disable_workgroup_init']
const untoggled = ['timestamp_quantization']
/** No validation of commands, no clamping of accesses to what is bound. */
const uncheckedToggles = ['skip_validation', 'disable_robustness']

/** WebGPU through the optional package `webgpu`. Throws DeviceError without the package. */
export async function openGpu({ adapter, unchecked = false }: GpuOptions = {}): Promise<GPU> {
  const key = JSON.stringify([adapter, unchecked])
  const known = instances.get(key)
  if (known !== undefined) return known
  const { create, globals } = await import('webgpu').catch((error: unknown) => {
    throw new DeviceError(`device: WebGPU in Node needs the package webgpu; run "npm install webgpu", or use the CPU device (${error instanceof Error ? error.message : String(error)})`)
  })
  for (const [name, value] of Object.entries(globals)) if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true })
  const on = [...toggles, ...(unchecked ? uncheckedToggles : [])]
  const gpu = create([`enable-dawn-features=${on.join(',')}`, `disable-dawn-features=${untoggled.join(',')}`, ...(adapter === undefined ? [] : [`adapter=${adapter}`])])
  instances.set(key, gpu)
  return gpu
}
