/** The function that each oracle describes, by how its description begins. */
import { tensor } from '../engine/create.ts'
import type { Tensor } from '../engine/graph.ts'
import { clamp, elu, gelu, hardswish, leakyRelu, mish, quickGelu, relu, silu, softplus } from '../engine/functions/activation.ts'
import { atan, atan2, maximum, powInteger } from '../engine/ops/arithmetic.ts'
import { scaledDotProductAttention } from '../engine/ops/attention.ts'
import { conv1d, conv2d, conv3d, convTranspose2d } from '../engine/functions/conv.ts'
import type { ConvOptions } from '../engine/functions/conv.ts'
import { einsum } from '../engine/functions/einsum.ts'
import { add, div, mul, sub, where } from '../engine/ops/elementwise.ts'
import { groupNorm } from '../engine/ops/groupNorm.ts'
import { embedding, gather, indexSelect, scatterAdd } from '../engine/ops/indexing.ts'
import { interpolate } from '../engine/functions/interpolate.ts'
import { concat } from '../engine/ops/join.ts'
import { bceWithLogits, crossEntropy, huberLoss, klDiv, l1Loss, mseLoss, smoothL1Loss } from '../engine/functions/loss.ts'
import { abs, cos, erf, exp, expm1, log, log1p, log2, rsqrt, sigmoid, sin, sqrt, tanh } from '../engine/ops/math.ts'
import { linear } from '../engine/ops/linear.ts'
import { matmul } from '../engine/ops/matmul.ts'
import { layerNorm, rmsNorm } from '../engine/ops/norm.ts'
import { pad } from '../engine/functions/pad.ts'
import { adaptiveAvgPool, avgPool2d, maxPool2d } from '../engine/functions/pooling.ts'
import { argmax, argmin, max, min, prod, sum } from '../engine/ops/reduce.ts'
import { cumprod, cumsum } from '../engine/ops/scan.ts'
import { roll, slice } from '../engine/ops/slice.ts'
import { logSoftmax, softmax } from '../engine/ops/softmax.ts'
import { sort, topK } from '../engine/ops/sort.ts'
import { logsumexp, mean, norm, std, variance } from '../engine/ops/statistics.ts'
import { pixelShuffle, pixelUnshuffle } from '../engine/functions/view.ts'
import type { OracleCase, OracleParams } from './oracle-cases.ts'

export interface Operands {
  readonly get: (name: string) => Tensor
  /** Some cases leave bias, weight or mask out. */
  readonly maybe: (name: string) => Tensor | undefined
}
/** A tensor; or values and indices. */
type OracleOp = (operands: Operands, params: OracleParams) => Tensor | readonly [Tensor, Tensor]

const one = (value: number | readonly number[] | undefined): number => (typeof value === 'number' ? value : (value?.[0] ?? 0))

type Conv = (x: Tensor, weight: Tensor, options: ConvOptions) => Tensor
const conv = (f: Conv): OracleOp => ({ get, maybe }, { stride = 1, padding = 0, dilation = 1, groups = 1, pad_lrtb: pad }) =>
  f(get('x'), get('w'), { bias: maybe('bias'), stride, padding: pad === undefined ? padding : [[pad[2], pad[3]], [pad[0], pad[1]]], dilation, groups })

const unary = (f: (x: Tensor) => Tensor): OracleOp => ({ get }) => f(get('x'))
const binary = (f: (a: Tensor, b: Tensor) => Tensor): OracleOp => ({ get }) => f(get('a'), get('b'))
type Reduction<Options> = (x: Tensor, axes: number | readonly number[] | undefined, options: Options) => Tensor
const reduction = (f: Reduction<{ keepDims: boolean }>): OracleOp => ({ get }, { axis, keepdim = false }) => f(get('x'), axis, { keepDims: keepdim })
const spread = (f: Reduction<{ keepDims: boolean; correction: number }>): OracleOp => ({ get }, { axis, keepdim = false, correction = 1 }) => f(get('x'), axis, { keepDims: keepdim, correction })

const pair = ({ values, indices }: { values: Tensor; indices: Tensor }): readonly [Tensor, Tensor] => [values, indices]
type Loss = (x: Tensor, y: Tensor, options: { reduction: 'mean' | 'sum' }) => Tensor
const loss = (f: Loss): OracleOp => ({ get }, { reduction = 'mean' }) => f(get('x'), get('y'), { reduction: reduction === 'sum' ? 'sum' : 'mean' })

const modes = { nearest: 'nearest', bilinear: 'bilinear', bicubic: 'bicubic', area: 'area' } as const

const ops: Readonly<Record<string, OracleOp>> = {
  'out = matmul': binary(matmul),
  linear: ({ get, maybe }) => linear(get('x'), get('w'), maybe('bias')),
  einsum: ({ get }, { equation = '' }) => einsum(equation, get('a'), get('b')),

  conv1d: conv(conv1d),
  conv2d: conv(conv2d),
  conv3d: conv(conv3d),
  conv_transpose2d: ({ get, maybe }, { stride = 1, padding = 0, output_padding: outputPadding = 0, dilation = 1, groups = 1 }) =>
    convTranspose2d(get('x'), get('w'), { bias: maybe('bias'), stride, padding, outputPadding, dilation, groups }),

  group_norm: ({ get, maybe }, { groups = 1, eps = 1e-5, silu = false }) => groupNorm(get('x'), groups, maybe('weight'), maybe('bias'), { eps, silu }),
  layer_norm: ({ get, maybe }, { n_dims: axes = 1, eps = 1e-5 }) => layerNorm(get('x'), get('x').shape.slice(-axes), maybe('weight'), maybe('bias'), { eps }),
  rms_norm: ({ get, maybe }, { eps = 1e-5 }) => rmsNorm(get('x'), get('x').shape.slice(-1), maybe('weight'), { eps }),
  'softmax(q k^T': ({ get, maybe }, { causal = false, scale }) => scaledDotProductAttention(get('q'), get('k'), get('v'), { mask: allowed(maybe('mask')), causal, ...(typeof scale === 'number' ? { scale } : {}) }),

  'softmax(x': ({ get }, { axis }) => softmax(get('x'), one(axis)),
  log_softmax: ({ get }, { axis }) => logSoftmax(get('x'), one(axis)),
  logsumexp: ({ get }, { axis }) => logsumexp(get('x'), axis),
  'sum over axis': reduction(sum),
  'mean over axis': reduction(mean),
  'amax over axis': reduction(max),
  'amin over axis': reduction(min),
  'var over axis': spread(variance),
  'std over axis': spread(std),
  'prod over axis': reduction(prod),
  'norm over axis': ({ get }, { axis, ord = 2 }) => norm(get('x'), axis, { order: ord === 'inf' ? Infinity : ord }),
  'cumsum over axis': ({ get }, { axis }) => cumsum(get('x'), one(axis)),
  'cumprod over axis': ({ get }, { axis }) => cumprod(get('x'), one(axis)),

  interpolate: ({ get }, { mode, size, scale_factor: scaleFactor, align_corners: alignCorners = false }) =>
    interpolate(get('x'), { mode: modes[mode as keyof typeof modes], alignCorners, ...(size === undefined ? {} : { size }), ...(scaleFactor === undefined ? {} : { scaleFactor }) }),
  avg_pool2d: ({ get }, { kernel = 2, stride = 2, padding = 0, count_include_pad: countIncludePad = true }) => avgPool2d(get('x'), kernel, { stride, padding, countIncludePad }),
  max_pool2d: ({ get }, { kernel = 2, stride = 2, padding = 0, dilation = 1 }) => maxPool2d(get('x'), kernel, { stride, padding, dilation }),
  adaptive_avg_pool2d: ({ get }, { size = 1 }) => adaptiveAvgPool(get('x'), size),
  'pad, amounts listed from the last axis': ({ get }, { pad: [left = 0, right = 0, top = 0, bottom = 0] = [], mode }) =>
    pad(get('x'), [[top, bottom], [left, right]], mode === 'reflect' || mode === 'replicate' ? { mode } : { value: 0.5 }),
  pixel_shuffle: ({ get }, { factor = 1 }) => pixelShuffle(get('x'), factor),
  pixel_unshuffle: ({ get }, { factor = 1 }) => pixelUnshuffle(get('x'), factor),

  gelu_erf: unary(gelu),
  gelu_tanh: unary((x) => gelu(x, { approximate: 'tanh' })),
  quick_gelu: unary(quickGelu),
  silu: unary(silu),
  mish: unary(mish),
  sigmoid: unary(sigmoid),
  tanh: unary(tanh),
  softplus: unary(softplus),
  'softplus beta 2.5': unary((x) => softplus(x, { beta: 2.5 })),
  'softplus beta 0.5 threshold 1': unary((x) => softplus(x, { beta: 0.5, threshold: 1 })),
  'softplus beta 3 threshold 20': unary((x) => softplus(x, { beta: 3 })),
  'elu alpha 1': unary(elu),
  'leaky_relu slope 0.01': unary(leakyRelu),
  relu: unary(relu),
  exp: unary(exp),
  log: unary(log),
  sqrt: unary(sqrt),
  rsqrt: unary(rsqrt),
  sin: unary(sin),
  cos: unary(cos),
  erf: unary(erf),
  expm1: unary(expm1),
  log1p: unary(log1p),
  log2: unary(log2),
  atan: unary(atan),
  abs: unary(abs),
  'clamp to [-1,1.5]': unary((x) => clamp(x, -1, 1.5)),
  'pow 3': unary((x) => powInteger(x, 3)),
  hardswish: unary(hardswish),
  'a+b': binary(add),
  'a-b': binary(sub),
  'a*b': binary(mul),
  'a/(b+3)': binary((a, b) => div(a, add(b, 3))),
  maximum: binary(maximum),
  atan2: binary(atan2),

  embedding: ({ get }) => embedding(get('w'), get('ids')),
  gather: ({ get }, { axis }) => gather(get('x'), get('index'), one(axis)),
  scatter_add: ({ get }, { axis }) => scatterAdd(get('x'), get('index'), get('src'), one(axis)),
  index_select: ({ get }, { axis }) => indexSelect(get('x'), get('index'), one(axis)),
  sort: ({ get }, { axis, descending = false }) => pair(sort(get('x'), one(axis), { descending })),
  topk: ({ get }, { axis, k = 1, largest = true }) => pair(topK(get('x'), k, one(axis), { largest })),
  argmax: ({ get }, { axis }) => argmax(get('x'), one(axis)),
  argmin: ({ get }, { axis }) => argmin(get('x'), one(axis)),
  where: ({ get }) => where(get('mask'), get('a'), get('b')),
  roll: ({ get }, { shift = 0, axis }) => roll(get('x'), shift, one(axis)),
  concat: ({ get }) => concat([get('a'), get('b')], 1),
  'slice x[:, 1:7:2, ::3]': ({ get }) => slice(get('x'), [null, [1, 7, 2], [null, null, 3]]),

  mse_loss: loss(mseLoss),
  l1_loss: loss(l1Loss),
  'huber_loss delta 0.4': loss((x, y, options) => huberLoss(x, y, { ...options, delta: 0.4 })),
  'smooth_l1_loss beta 0.3': loss((x, y, options) => smoothL1Loss(x, y, { ...options, beta: 0.3 })),
  cross_entropy: ({ get }, { label_smoothing: labelSmoothing = 0, reduction = 'mean' }) => crossEntropy(get('x'), get('y'), { labelSmoothing, reduction: reduction === 'sum' ? 'sum' : 'mean' }),
  binary_cross_entropy_with_logits: loss(bceWithLogits),
  kl_div: ({ get }, { reduction = 'mean', log_target: logTarget = false }) => klDiv(get('x'), get('y'), { reduction, logTarget }),
}

/** Column 0 is forced true, so that no row is empty. */
function allowed(mask: Tensor | undefined): Tensor | undefined {
  if (mask?.dtype !== 'bool') return mask
  const columns = mask.shape.at(-1) ?? 0
  return where(tensor(Array.from({ length: columns }, (_, j) => j === 0), null, { device: mask.device }), tensor(true, null, { device: mask.device }), mask)
}

/** The longest beginning that fits decides. */
export function opOf({ op, id }: OracleCase): OracleOp {
  const [key] = Object.keys(ops).filter((k) => op.startsWith(k)).sort((a, b) => b.length - a.length)
  const found = key === undefined ? undefined : ops[key]
  if (found === undefined) throw new Error(`${id}: no function for '${op}'`)
  return found
}
