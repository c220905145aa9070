/** The modules of the oracle test/oracles/nn/modules.json as they are made here, and its formulas. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { ones, reshape, tensor, tril } from '../../engine/index.ts'
import type { Device, Tensor, TensorLike } from '../../engine/index.ts'
import { sizeOf } from '../../engine/shape.ts'
import * as nn from '../../nn/index.ts'
import type { LayerOptions, Module, MultiheadAttentionCallOptions } from '../../nn/index.ts'

export interface OracleModule {
  readonly state: readonly (readonly [name: string, shape: readonly number[]])[]
  readonly inputs: readonly (readonly number[])[]
  readonly mod?: number
  readonly shape: readonly number[]
  readonly out: readonly number[]
  readonly grads: Readonly<Record<string, readonly number[]>>
  readonly inputGrads: readonly (readonly number[])[]
  readonly calls?: number
  readonly buffers?: Readonly<Record<string, readonly number[]>>
}

interface Statistics {
  readonly mean: number
  readonly std: number
  readonly max: number
  readonly shape: readonly number[]
}

export const oracle = JSON.parse(readFileSync(path.join(import.meta.dirname, '../oracles/nn/modules.json'), 'utf8')) as {
  readonly cases: Readonly<Record<string, OracleModule>>
  readonly init: Readonly<Record<string, Readonly<Record<string, Statistics>>>>
  readonly gains: Readonly<Record<string, number>>
}

const values = (shape: readonly number[], at: (i: number) => number): Float32Array<ArrayBuffer> => Float32Array.from({ length: sizeOf(shape) }, (_, i) => at(i))

/** Entry p of a state dict. */
export function stateValues(name: string, shape: readonly number[], p: number): Float32Array<ArrayBuffer> {
  const wave = values(shape, (i) => 0.5 * Math.sin(0.1 + 0.37 * i + 1.3 * p))
  return name.endsWith('running_var') ? wave.map((x) => Math.abs(x) + 0.5) : wave
}
/** Input k. */
export function inputValues(shape: readonly number[], k: number, mod?: number): Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> {
  return mod === undefined ? values(shape, (i) => Math.cos(0.5 + 0.61 * i + 0.9 * k) + 0.1) : Int32Array.from({ length: sizeOf(shape) }, (_, i) => (7 * i + 3 * k) % mod)
}
/** The gradient that comes from above. */
export const upstream = (shape: readonly number[]): Float32Array<ArrayBuffer> => values(shape, (i) => Math.sin(1 + 0.73 * i))

export interface ModuleCase {
  readonly make: (options: LayerOptions) => Module
  /** Default: `call` with the inputs. */
  readonly run?: (module: Module, inputs: readonly Tensor[]) => Tensor
  /** Numbers that it takes or works out are rounded to f32 on every device. */
  readonly rounded?: true
  /** The gradient is not that of the value, on purpose. */
  readonly stopped?: true
}

/** Functions as modules, to be in one table with them. */
class Function extends nn.Module<[TensorLike], Tensor> {
  readonly #function: (x: TensorLike) => Tensor

  constructor(fn: (x: TensorLike) => Tensor) {
    super()
    this.#function = fn
  }

  forward(x: TensorLike): Tensor {
    return this.#function(x)
  }
}

const plain = (make: (options: LayerOptions) => Module): ModuleCase => ({ make })

/** Attention of the first input to the last one, under masks made on its device. */
function attending(options: (device: Device) => MultiheadAttentionCallOptions): NonNullable<ModuleCase['run']> {
  return (module, inputs) => {
    const [query, key] = [inputs[0], inputs.at(-1)]
    if (!(module instanceof nn.MultiheadAttention) || query === undefined || key === undefined) throw new RangeError('attention over one input or two')
    return module.call(query, key, key, options(query.device))
  }
}

const bools = (device: Device, rows: readonly number[][]): Tensor => tensor(rows, null, { device }).greater(0)
const paddedKeys = [[1, 1, 1, 0, 1], [0, 1, 1, 0, 0]]
const eachSample = [[1, 0, 1], [1, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 0], [1, 1, 1]]
const together = (device: Device): MultiheadAttentionCallOptions => ({
  mask: tensor(values([3, 5], Math.sin), [3, 5], { device }),
  keyPadding: bools(device, [[1, 0, 1, 1, 1], [1, 1, 0, 0, 1]]),
  causal: true,
})

/** Activations whose bends lie further out than the inputs. */
function times8(module: Module, [x]: readonly Tensor[]): Tensor {
  if (x === undefined) throw new RangeError('an input')
  return Reflect.apply(module.call, module, [x.mul(8)]) as Tensor
}

export const moduleCases: Readonly<Record<string, ModuleCase>> = {
  linear: plain((o) => new nn.Linear(3, 4, o)),
  'linear without bias': plain((o) => new nn.Linear(3, 2, { bias: false, ...o })),
  conv1d: plain((o) => new nn.Conv1d(2, 4, 3, { stride: 2, padding: 1, groups: 2, ...o })),
  conv2d: plain((o) => new nn.Conv2d(2, 3, 3, { padding: 1, ...o })),
  'conv2d reflect': plain((o) => new nn.Conv2d(2, 2, [3, 2], { stride: [1, 2], padding: [1, 2], paddingMode: 'reflect', bias: false, ...o })),
  'conv2d circular same': plain((o) => new nn.Conv2d(1, 2, [3, 2], { padding: 'same', dilation: 2, paddingMode: 'circular', ...o })),
  'conv2d replicate': plain((o) => new nn.Conv2d(2, 2, 3, { padding: 2, paddingMode: 'replicate', ...o })),
  'conv2d replicate same': plain((o) => new nn.Conv2d(1, 1, 2, { padding: 'same', paddingMode: 'replicate', ...o })),
  'conv2d valid': plain((o) => new nn.Conv2d(1, 2, [2, 3], { padding: 'valid', paddingMode: 'reflect', ...o })),
  conv3d: plain((o) => new nn.Conv3d(1, 2, 2, { stride: [1, 2, 1], dilation: [1, 1, 2], ...o })),
  convTranspose1d: plain((o) => new nn.ConvTranspose1d(2, 4, 3, { stride: 2, padding: 1, outputPadding: 1, groups: 2, ...o })),
  convTranspose2d: plain((o) => new nn.ConvTranspose2d(2, 3, 3, { stride: 2, padding: 1, ...o })),
  convTranspose3d: plain((o) => new nn.ConvTranspose3d(2, 1, 2, { stride: 2, bias: false, ...o })),
  embedding: plain((o) => new nn.Embedding(5, 3, o)),
  'embedding padding': { make: (o) => new nn.Embedding(5, 3, { paddingIdx: -2, ...o }), stopped: true },
  groupNorm: plain((o) => new nn.GroupNorm(2, 4, o)),
  'groupNorm plain': plain((o) => new nn.GroupNorm(2, 4, { eps: 0.1, affine: false, ...o })),
  layerNorm: plain((o) => new nn.LayerNorm(4, o)),
  'layerNorm no bias': plain((o) => new nn.LayerNorm([3, 4], { eps: 0.01, bias: false, ...o })),
  'layerNorm plain': plain((o) => new nn.LayerNorm(4, { elementwiseAffine: false, ...o })),
  rmsNorm: plain((o) => new nn.RMSNorm(4, o)),
  'rmsNorm plain': plain((o) => new nn.RMSNorm([3, 4], { eps: 0.01, elementwiseAffine: false, ...o })),
  'batchNorm2d train': plain((o) => new nn.BatchNorm2d(3, o)),
  'batchNorm2d eval': plain((o) => new nn.BatchNorm2d(3, { eps: 0.01, ...o })),
  'batchNorm2d cumulative': plain((o) => new nn.BatchNorm2d(2, { momentum: null, affine: false, ...o })),
  'batchNorm2d untracked': plain((o) => new nn.BatchNorm2d(2, { trackRunningStats: false, ...o })),
  instanceNorm2d: plain((o) => new nn.InstanceNorm2d(3, o)),
  'instanceNorm2d affine': plain((o) => new nn.InstanceNorm2d(3, { affine: true, eps: 0.01, ...o })),
  'attention self': { make: (o) => new nn.MultiheadAttention(4, 2, o), rounded: true },
  'attention cross': { make: (o) => new nn.MultiheadAttention(4, 2, { bias: false, ...o }), rounded: true },
  'attention sizes': { make: (o) => new nn.MultiheadAttention(4, 2, { kdim: 3, vdim: 5, ...o }), rounded: true },
  'attention masked': { make: (o) => new nn.MultiheadAttention(4, 2, o), run: attending((device) => ({ mask: tril(ones([3, 3], { device })).greater(0) })), rounded: true },
  'attention padded': { make: (o) => new nn.MultiheadAttention(4, 2, o), run: attending((device) => ({ keyPadding: bools(device, paddedKeys) })), rounded: true },
  'attention each sample': { make: (o) => new nn.MultiheadAttention(4, 2, o), run: attending((device) => ({ mask: reshape(bools(device, eachSample), [2, 1, 3, 3]) })), rounded: true },
  'attention padded, biased, causal': { make: (o) => new nn.MultiheadAttention(4, 2, { bias: false, ...o }), run: attending(together), rounded: true },
  relu: plain(() => new nn.ReLU()),
  leakyRelu: { make: () => new nn.LeakyReLU({ negativeSlope: 0.2 }), rounded: true },
  relu6: { make: () => new nn.ReLU6(), run: times8 },
  prelu: plain((o) => new nn.PReLU(1, o)),
  'prelu channels': plain((o) => new nn.PReLU(3, o)),
  elu: { make: () => new nn.ELU({ alpha: 0.7 }), rounded: true },
  selu: plain(() => new nn.SELU()),
  silu: plain(() => new nn.SiLU()),
  gelu: plain(() => new nn.GELU()),
  geluTanh: plain(() => new nn.GELU({ approximate: 'tanh' })),
  hardswish: { make: () => new nn.Hardswish(), run: times8 },
  mish: plain(() => new nn.Mish()),
  softplus: plain(() => new nn.Softplus({ beta: 2 })),
  sigmoid: plain(() => new nn.Sigmoid()),
  tanh: plain(() => new nn.Tanh()),
  softmax: plain(() => new nn.Softmax(1)),
  logSoftmax: plain(() => new nn.LogSoftmax(-1)),
  identity: plain(() => new nn.Identity()),
  flatten: plain(() => new nn.Flatten()),
  'flatten inner': plain(() => new nn.Flatten({ start: 0, end: 1 })),
  dropout: plain(() => new nn.Dropout()),
  'upsample nearest': plain(() => new nn.Upsample({ scaleFactor: 2 })),
  'upsample bilinear': { make: () => new nn.Upsample({ size: [5, 4], mode: 'bilinear', alignCorners: true }), rounded: true },
  avgPool2d: plain(() => new nn.AvgPool2d(2)),
  'avgPool2d windows': plain(() => new nn.AvgPool2d([3, 2], { stride: 2, padding: 1 })),
  'avgPool2d inside': plain(() => new nn.AvgPool2d(3, { stride: 2, padding: 1, ceilMode: true, countIncludePad: false })),
  maxPool2d: plain(() => new nn.MaxPool2d(2)),
  'maxPool2d windows': plain(() => new nn.MaxPool2d([3, 2], { stride: [2, 1], padding: 1, dilation: [1, 2], ceilMode: true })),
  geglu: plain((o) => new nn.GEGLU(3, 2, o)),
  swiglu: plain((o) => new nn.SwiGLU(3, 2, o)),
  feedForward: plain((o) => new nn.FeedForward(3, o)),
  'feedForward swiglu': plain((o) => new nn.FeedForward(4, { activation: 'swiglu', mult: 1.5, outputs: 2, ...o })),
  'feedForward gelu': plain((o) => new nn.FeedForward(3, { activation: 'geluTanh', mult: 2, ...o })),
  upsample2D: plain((o) => new nn.Upsample2D(2, { outputs: 3, ...o })),
  downsample2D: plain((o) => new nn.Downsample2D(2, { padding: [[0, 1], [0, 1]], ...o })),
  sequential: plain((o) => new nn.Sequential(new nn.Linear(3, 4, o), new nn.SiLU(), new nn.Sequential(new nn.LayerNorm(4, o), new nn.Linear(4, 2, { bias: false, ...o })))),
  sinusoidal: { make: () => new Function((t) => nn.sinusoidalEmbedding(t, 6, { shift: 1 })), rounded: true },
  'sinusoidal flipped': { make: () => new Function((t) => nn.sinusoidalEmbedding(t, 7, { order: 'cosSin', scale: 10, maxPeriod: 100 })), rounded: true },
  fourier: plain((o) => new nn.GaussianFourierProjection(3, o)),
  'rotary halves': { make: () => new Function((x) => nn.rotaryEmbedding(x, { pairs: 'halves' })), rounded: true },
  'rotary interleaved': { make: () => new Function((x) => nn.rotaryEmbedding(x, { base: 100 })), rounded: true },
}

/** Runs a case's module. */
export function runCase({ run }: ModuleCase, module: Module, inputs: readonly Tensor[]): Tensor {
  const y: unknown = run === undefined ? Reflect.apply(module.call, module, inputs) : run(module, inputs)
  if (typeof y !== 'object' || y === null || !('node' in y)) throw new TypeError('a module gives a tensor')
  return y as Tensor
}
