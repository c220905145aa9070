/** Runs row kernels (the named one, or `all`) on fixed numbers under the V8 flags given, and prints a hash of each one's results, for `rowWidening.test.ts`. */
import { createHash } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { adamwKernel } from '../../kernels/wasm/optim/adamw.ts'
import { attentionKernel } from '../../kernels/wasm/attention/attention.ts'
import { attentionGradKernel } from '../../kernels/wasm/attention/attentionGrad.ts'
import { groupNormKernel } from '../../kernels/wasm/norm/groupNorm.ts'
import { groupNormGradKernel } from '../../kernels/wasm/norm/groupNormGrad.ts'
import type { WasmKernel } from '../../kernels/wasm/core/kernel.ts'
import { layerNormGradKernel, layerNormKernel } from '../../kernels/wasm/norm/layerNorm.ts'
import { philoxKernel } from '../../kernels/wasm/elementwise/random.ts'
import { scanKernel } from '../../kernels/wasm/reduce/scan.ts'
import { softmaxGradKernel, softmaxKernel } from '../../kernels/wasm/norm/softmax.ts'
import { squaredNormKernel } from '../../kernels/wasm/optim/squaredNorm.ts'
import { runKernel } from './run.ts'

/** With 256-bit code come kernels for it, whose bits are the same. */
const target = { relaxed: true, wide: process.argv.includes('--experimental-wasm-revectorize') }
const rows = (...sizes: number[]): { strides: number[]; offset: number } => ({ strides: sizes.map((_, k) => sizes.slice(k + 1).reduce((a, b) => a * b, 1)), offset: 0 })
const [channelsLast, channelsFirst, matrix, heads] = [{ strides: [20 * 40, 1, 40], offset: 0 }, rows(3, 40, 20), rows(9, 45), rows(3, 37, 20)]
const norm = { batch: 3, channels: 40, groups: 5, spatial: 20, eps: 1e-5, silu: true }
const attention = { batch: [3], queries: 37, keys: 37, dim: 20, valueDim: 20, causal: false, q: heads, k: heads, v: heads, out: heads }
const [values, statistics] = [3 * 40 * 20, 3 * 37]

/** Each kernel with the lengths of its buffers. */
const cases: Readonly<Record<string, readonly [WasmKernel, readonly number[]]>> = {
  groupNormLast: [groupNormKernel({ ...norm, x: channelsLast, y: channelsLast }, target), [values, 40, 40, values, 15, 15]],
  groupNormFirst: [groupNormKernel({ ...norm, x: channelsFirst, y: channelsFirst }, target), [values, 40, 40, values, 15, 15]],
  groupNormGradLast: [groupNormGradKernel({ ...norm, dy: channelsLast, x: channelsLast, dx: channelsLast }, target), [values, values, 40, 40, 15, 15, values, 120, 120]],
  groupNormGradFirst: [groupNormGradKernel({ ...norm, dy: channelsFirst, x: channelsFirst, dx: channelsFirst }, target), [values, values, 40, 40, 15, 15, values, 120, 120]],
  attention: [attentionKernel(attention, target), [...[0, 1, 2].map(() => 20 * statistics), 1, 20 * statistics, statistics]],
  attentionGrad: [attentionGradKernel({ ...attention, dout: heads, dq: heads, dk: heads, dv: heads }, target), [...[0, 1, 2].map(() => 20 * statistics), 1, 20 * statistics, statistics, ...[0, 1, 2, 3].map(() => 20 * statistics)]],
  adamw: [adamwKernel({ sizes: [100, 33], ema: true }), [10, ...[100, 33].flatMap((n) => [n, n, n, n, n]), ...[100, 33].flatMap((n) => [n, n, n, n])]],
  squaredNorm: [squaredNormKernel({ sizes: [100, 33, 9000] }), [100, 33, 9000, 4]],
  softmax: [softmaxKernel({ rows: 9, length: 45, x: matrix, y: matrix }, target), [405, 405]],
  softmaxGrad: [softmaxGradKernel({ rows: 9, length: 45, y: matrix, dy: matrix, dx: matrix }, target), [405, 405, 405]],
  layerNorm: [layerNormKernel({ rows: 9, length: 45, centred: true, eps: 1e-5, x: matrix, y: matrix }, target), [405, 45, 45, 405, 9, 9]],
  layerNormGrad: [layerNormGradKernel({ rows: 9, length: 45, centred: true, dy: matrix, x: matrix, dx: matrix }, target), [405, 405, 45, 9, 9, 405]],
  philox: [philoxKernel({ rows: 3, length: 70 }), [6, 6, 210]],
  // Floats are added as doubles, whose vectors V8 does not join.
  scan: [scanKernel({ shape: [45, 9], x: { strides: [1, 45], offset: 0 }, y: { strides: [1, 45], offset: 0 }, reverse: false, dtype: 'i32' }), [405, 405]],
}

const [chosen, ...flags] = process.argv.slice(2)
// Only now, lest Node's own modules show in the trace.
for (const flag of flags) setFlagsFromString(flag)
for (const [name, [kernel, lengths]] of Object.entries(cases)) {
  if (chosen !== 'all' && chosen !== name) continue
  // Positive numbers, as some are variances.
  const buffers = lengths.map((n, b) => Float32Array.from({ length: n }, (_, i) => ((i * 7919 + b * 104729) % 1009) / 1009))
  runKernel(kernel, buffers.map((b) => new Uint8Array(b.buffer)))
  const hash = createHash('sha256')
  for (const b of buffers) hash.update(new Uint8Array(b.buffer))
  console.log(`${name} ${hash.digest('hex')}`)
}
