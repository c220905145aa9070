/**
 * GFLOP/s of the matrix product and of convolution on one thread: `node bench/cpu-kernels.bench.ts [--wide] [name part]`.
 * `--wide` turns on V8's revectorizer. On a busy machine only the best of the runs means anything.
 * Images lie channels last, weights as [out, in, taps].
 */
import type { ConvDescriptor, MatmulDescriptor } from '../kernels/ir/descriptor.ts'
import { setFlagsFromString } from 'node:v8'
import { Bench } from 'tinybench'
import { placeAlone } from '../kernels/wasm/core/alone.ts'
import { convInputGradKernel, convKernel, convWeightGradKernel } from '../kernels/wasm/conv/conv.ts'
import type { WasmKernel, WasmTarget } from '../kernels/wasm/core/kernel.ts'
import { matmulKernel } from '../kernels/wasm/matmul/matmul.ts'

// Optimised code from the first call on.
setFlagsFromString('--no-liftoff')
const wide = process.argv.includes('--wide')
if (wide) setFlagsFromString('--experimental-wasm-revectorize')
const target: WasmTarget = { relaxed: true, wide }

/** A function that runs all of `kernel` on buffers of `sizes` random floats. */
function prepare(kernel: WasmKernel, sizes: readonly number[]): () => void {
  const { run, buffers } = placeAlone(kernel, sizes, (bytes) => new WebAssembly.Module(bytes))
  for (const buffer of buffers) buffer.forEach((_, i) => (buffer[i] = Math.random() - 0.5))
  return () => run()
}

const bench = new Bench({ time: 300, warmupTime: 50 })
const flops = new Map<string, number>()
const wanted = process.argv.slice(2).find((arg) => !arg.startsWith('-')) ?? ''

function add(name: string, kernel: () => WasmKernel, sizes: readonly number[]): void {
  if (!name.includes(wanted)) return
  const made = kernel()
  flops.set(name, made.flops)
  bench.add(name, prepare(made, sizes))
}

function matmul(m: number, k: number, n: number, batch = 1): void {
  const plain = (rows: number, columns: number): MatmulDescriptor['a'] => ({ strides: [rows * columns, columns, 1], offset: 0 })
  const transposed = (rows: number, columns: number): MatmulDescriptor['a'] => ({ strides: [rows * columns, 1, rows], offset: 0 })
  const sizes = [batch * m * k, batch * k * n, batch * m * n]
  const make = (a: MatmulDescriptor['a'], b: MatmulDescriptor['a']) => (): WasmKernel => matmulKernel({ batch: [batch], m, k, n, a, b, out: plain(m, n) }, target)
  const label = `matmul ${batch === 1 ? '' : `${batch} of `}${m}×${k}×${n}`
  add(label, make(plain(m, k), plain(k, n)), sizes)
  add(`${label} a·bᵀ`, make(plain(m, k), transposed(k, n)), sizes)
  add(`${label} aᵀ·b`, make(transposed(m, k), plain(k, n)), sizes)
}

function conv(batch: number, inChannels: number, size: number, outChannels: number): void {
  const last = (channels: number): ConvDescriptor['x'] => ({ strides: [size * size * channels, 1, size * channels, channels], offset: 0 })
  const d: ConvDescriptor = {
    batch, inChannels, outChannels, groups: 1, input: [size, size], output: [size, size], kernel: [3, 3], stride: [1, 1], padding: [1, 1], dilation: [1, 1],
    x: last(inChannels), y: last(outChannels), w: { strides: [inChannels * 9, 9, 3, 1], offset: 0 },
  }
  const [x, w, y] = [batch * size * size * inChannels, outChannels * inChannels * 9, batch * size * size * outChannels]
  const label = `conv N${batch} C${inChannels} ${size}×${size} O${outChannels}`
  add(label, () => convKernel(d, target), [x, w, y])
  add(`${label} input gradient`, () => convInputGradKernel(d, target), [y, w, x])
  add(`${label} weight gradient`, () => convWeightGradKernel(d, target), [x, y, w])
}

for (const n of [512, 1024]) matmul(n, n, n)
matmul(32, 128, 128)
matmul(512, 128, 128)
matmul(16, 8, 16, 128)
conv(8, 64, 32, 64)
conv(32, 32, 8, 32)
conv(32, 64, 4, 64)
conv(32, 96, 8, 32)
conv(32, 1, 8, 32)

await bench.run()
console.table(bench.tasks.map((task) => {
  const { result } = task
  if (!('latency' in result)) return { kernel: task.name }
  const seconds = result.latency.p50 / 1000
  const rate = (time: number): number => Number(((flops.get(task.name) ?? 0) / time / 1e9).toFixed(1))
  return { kernel: task.name, 'µs': Number((1e6 * seconds).toFixed(1)), 'GFLOP/s': rate(seconds), best: rate(result.latency.min / 1000) }
}))
