/**
 * Products compiled with V8's revectorizer give the bits they give without: the flag is read when a
 * module is compiled, and wide tiles make the modules differ, so that neither comes from a cache.
 */
import { setFlagsFromString } from 'node:v8'
import { afterEach, expect, it } from 'vitest'
import type { ConvDescriptor, Epilogue } from '../../kernels/ir/descriptor.ts'
import { product } from '../../kernels/ir/domain.ts'
import { accumulator, binary, load, unary } from '../../kernels/ir/expression.ts'
import { convInputGradKernel, convKernel, convWeightGradKernel } from '../../kernels/wasm/conv/conv.ts'
import { takesPlanes } from '../../kernels/wasm/conv/planeShape.ts'
import type { WasmKernel, WasmTarget } from '../../kernels/wasm/core/kernel.ts'
import { matmulKernel } from '../../kernels/wasm/matmul/matmul.ts'
import { launch, normals } from './strided.ts'

const on = ['--experimental-wasm-revectorize', '--no-liftoff']
const off = ['--no-experimental-wasm-revectorize', '--liftoff']
afterEach(() => off.forEach(setFlagsFromString))

function agree(make: (target: WasmTarget) => WasmKernel, sizes: readonly number[], out: number): void {
  const inputs = sizes.map((size, i) => normals(size, i))
  const plain = launch(make({ relaxed: true }), inputs, out)
  on.forEach(setFlagsFromString)
  const wide = launch(make({ relaxed: true, wide: true }), inputs, out)
  expect(wide.out).toEqual(plain.out)
}

/** Of a convolution and its gradients. */
function agreeAll(d: ConvDescriptor): void {
  const [x, w, y] = [d.batch * d.inChannels * product(d.input), d.outChannels * d.inChannels * product(d.kernel), d.batch * d.outChannels * product(d.output)]
  agree((target) => convKernel(d, target), [x, w], y)
  off.forEach(setFlagsFromString)
  agree((target) => convInputGradKernel(d, target), [y, w], x)
  off.forEach(setFlagsFromString)
  agree((target) => convWeightGradKernel(d, target), [x, y], w)
}

const rows = (columns: number): { strides: number[]; offset: number } => ({ strides: [columns, 1], offset: 0 })
const columns = (count: number): { strides: number[]; offset: number } => ({ strides: [1, count], offset: 0 })

/** sigmoid(product + bias) */
const epilogue: Epilogue = { inputs: [{ dtype: 'f32', strides: [0, 1], offset: 0 }], value: unary('sigmoid', binary('add', accumulator('f32'), load(0, 'f32'))) }

it.each([[33, 330, 65], [128, 64, 48], [7, 9, 16]])('matmul %i × %i × %i', (m, k, n) => {
  agree((target) => matmulKernel({ batch: [], m, k, n, a: rows(k), b: rows(n), out: rows(n) }, target), [m * k, k * n], m * n)
  off.forEach(setFlagsFromString)
  agree((target) => matmulKernel({ batch: [], m, k, n, a: columns(m), b: columns(k), out: rows(n) }, target, epilogue), [m * k, k * n, n], m * n)
})

it.each([[3, 20, 7, 33], [4, 32, 8, 32], [2, 3, 9, 16], [2, 40, 5, 4]])('convolution of %i images of %i channels', (batch, inChannels, size, outChannels) => {
  const last = (channels: number): ConvDescriptor['x'] => ({ strides: [size * size * channels, 1, size * channels, channels], offset: 0 })
  const d: ConvDescriptor = {
    batch, inChannels, outChannels, groups: 1, input: [size, size], output: [size, size], kernel: [3, 3], stride: [1, 1], padding: [1, 1], dilation: [1, 1],
    x: last(inChannels), y: last(outChannels), w: { strides: [inChannels * 9, 9, 3, 1], offset: 0 },
  }
  agreeAll(d)
})

it.each([[3, 4, 32, 16], [2, 16, 40, 6], [1, 3, 27, 64]])('convolution of %i images of %i channels in planes', (batch, inChannels, size, outChannels) => {
  const first = (channels: number): ConvDescriptor['x'] => ({ strides: [size * size * channels, size * size, size, 1], offset: 0 })
  const d: ConvDescriptor = {
    batch, inChannels, outChannels, groups: 1, input: [size, size], output: [size, size], kernel: [3, 3], stride: [1, 1], padding: [1, 1], dilation: [1, 1],
    x: first(inChannels), y: first(outChannels), w: { strides: [inChannels * 9, 9, 3, 1], offset: 0 },
  }
  expect(takesPlanes(d)).toBe(true)
  agreeAll(d)
})
