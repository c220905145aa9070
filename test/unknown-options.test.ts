/** Options that a function or constructor does not have are refused: every one that is exported and takes options has a row. */
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import * as diffusion from '../diffusion/index.ts'
import { metaDevice } from '../engine/device/meta.ts'
import * as engine from '../engine/index.ts'
import * as nn from '../nn/index.ts'
import { sources } from '../scripts/sources.ts'

/** A call that would be right without the options it is given. */
type Call = (unknown: object) => unknown

const meta = metaDevice()
engine.setDefaultDevice(meta)
const { ones, variable } = engine
const x = ones([2, 4])
const image = ones([1, 2, 4, 4])
const parameters = { w: variable(ones([4, 4])) }
const model = new nn.Linear(2, 2)
const file = nn.encodeSafetensors(new Map())
const adamW = new nn.AdamW(parameters)
const ema = new nn.EMA(parameters)
const scaler = new nn.LossScaler()
const schedule = nn.constantSchedule(1)

/** By the name that errors have; `Class.method` where it is not that of the class. */
const calls: Record<string, Call> = {
  device: (u) => engine.device('meta', u),
  scalar: (u) => engine.scalar(1, u),
  tensor: (u) => engine.tensor([1], null, u),
  variable: (u) => variable(x, u),
  profile: (u) => engine.profile(meta, () => 1, u),
  'Profile.table': (u) => new engine.Profile(1, [], { flopsPerSecond: 1, bytesPerSecond: 1 }).table(u),
  detectAnomaly: (u) => engine.detectAnomaly(meta, () => 1, u),
  grad: (u) => engine.grad(engine.sum(parameters.w), parameters, u),
  valueAndGrad: (u) => engine.valueAndGrad(engine.sum(parameters.w), parameters, u),
  arange: (u) => engine.arange(2, undefined, u),
  eye: (u) => engine.eye(2, 2, u),
  full: (u) => engine.full([2], 1, u),
  fullLike: (u) => engine.fullLike(x, 1, u),
  linspace: (u) => engine.linspace(0, 1, 2, u),
  ones: (u) => ones([2], u),
  onesLike: (u) => engine.onesLike(x, u),
  zeros: (u) => engine.zeros([2], u),
  zerosLike: (u) => engine.zerosLike(x, u),
  bernoulli: (u) => engine.bernoulli([2], { probability: 0.5, ...u }),
  dropout: (u) => engine.dropout(x, { p: 0.5, ...u }),
  normal: (u) => engine.normal([2], u),
  permutation: (u) => engine.permutation(2, u),
  randint: (u) => engine.randint([2], { high: 2, ...u }),
  uniform: (u) => engine.uniform([2], u),
  elu: (u) => engine.elu(x, u),
  gelu: (u) => engine.gelu(x, u),
  leakyRelu: (u) => engine.leakyRelu(x, u),
  softplus: (u) => engine.softplus(x, u),
  all: (u) => engine.all(x, 0, u),
  any: (u) => engine.any(x, 0, u),
  argmax: (u) => engine.argmax(x, 0, u),
  argmin: (u) => engine.argmin(x, 0, u),
  countNonzero: (u) => engine.countNonzero(x, 0, u),
  max: (u) => engine.max(x, 0, u),
  min: (u) => engine.min(x, 0, u),
  prod: (u) => engine.prod(x, 0, u),
  sum: (u) => engine.sum(x, 0, u),
  logsumexp: (u) => engine.logsumexp(x, 0, u),
  mean: (u) => engine.mean(x, 0, u),
  norm: (u) => engine.norm(x, 0, u),
  std: (u) => engine.std(x, 0, u),
  variance: (u) => engine.variance(x, 0, u),
  cumprod: (u) => engine.cumprod(x, 0, u),
  cumsum: (u) => engine.cumsum(x, 0, u),
  pad: (u) => engine.pad(x, [1], u),
  oneHot: (u) => engine.oneHot(engine.arange(2), 2, u),
  argsort: (u) => engine.argsort(x, 0, u),
  sort: (u) => engine.sort(x, 0, u),
  topK: (u) => engine.topK(x, 1, 0, u),
  conv1d: (u) => engine.conv1d(ones([1, 2, 4]), ones([2, 2, 1]), u),
  conv2d: (u) => engine.conv2d(image, ones([2, 2, 1, 1]), u),
  conv3d: (u) => engine.conv3d(ones([1, 2, 4, 4, 4]), ones([2, 2, 1, 1, 1]), u),
  convTranspose1d: (u) => engine.convTranspose1d(ones([1, 2, 4]), ones([2, 2, 1]), u),
  convTranspose2d: (u) => engine.convTranspose2d(image, ones([2, 2, 1, 1]), u),
  convTranspose3d: (u) => engine.convTranspose3d(ones([1, 2, 4, 4, 4]), ones([2, 2, 1, 1, 1]), u),
  avgPool1d: (u) => engine.avgPool1d(ones([1, 2, 4]), 2, u),
  avgPool2d: (u) => engine.avgPool2d(image, 2, u),
  avgPool3d: (u) => engine.avgPool3d(ones([1, 2, 4, 4, 4]), 2, u),
  maxPool1d: (u) => engine.maxPool1d(ones([1, 2, 4]), 2, u),
  maxPool2d: (u) => engine.maxPool2d(image, 2, u),
  maxPool3d: (u) => engine.maxPool3d(ones([1, 2, 4, 4, 4]), 2, u),
  interpolate: (u) => engine.interpolate(image, { scaleFactor: 2, ...u }),
  groupNorm: (u) => engine.groupNorm(image, 1, undefined, undefined, u),
  layerNorm: (u) => engine.layerNorm(x, [4], undefined, undefined, u),
  rmsNorm: (u) => engine.rmsNorm(x, [4], undefined, u),
  scaledDotProductAttention: (u) => engine.scaledDotProductAttention(x, x, x, u),
  adamWStep: (u) => engine.adamWStep({ parameters: [x], gradients: [x], first: [x], second: [x], lr: 1, beta1: 0, beta2: 0, eps: 1, weightDecay: 0, correction1: 1, correction2: 1, ...u }),
  bce: (u) => engine.bce(x, x, u),
  bceWithLogits: (u) => engine.bceWithLogits(x, x, u),
  crossEntropy: (u) => engine.crossEntropy(x, engine.arange(2), u),
  huberLoss: (u) => engine.huberLoss(x, x, u),
  klDiv: (u) => engine.klDiv(x, x, u),
  l1Loss: (u) => engine.l1Loss(x, x, u),
  mseLoss: (u) => engine.mseLoss(x, x, u),
  nllLoss: (u) => engine.nllLoss(x, engine.arange(2), u),
  smoothL1Loss: (u) => engine.smoothL1Loss(x, x, u),

  Buffer: (u) => new nn.Buffer(x, u),
  parameterCount: (u) => nn.parameterCount(model, u),
  LossScaler: (u) => new nn.LossScaler(u),
  'LossScaler.load': (u) => scaler.load(file, u),
  'LossScaler.loadStateDict': (u) => scaler.loadStateDict(new Map(), { strict: false, ...u }),
  kaimingNormal: (u) => nn.kaimingNormal([2, 2], u),
  kaimingUniform: (u) => nn.kaimingUniform([2, 2], u),
  truncNormal: (u) => nn.truncNormal([2], u),
  xavierNormal: (u) => nn.xavierNormal([2, 2], u),
  xavierUniform: (u) => nn.xavierUniform([2, 2], u),
  Linear: (u) => new nn.Linear(2, 2, u),
  Conv1d: (u) => new nn.Conv1d(2, 2, 1, u),
  Conv2d: (u) => new nn.Conv2d(2, 2, 1, u),
  Conv3d: (u) => new nn.Conv3d(2, 2, 1, u),
  ConvTranspose1d: (u) => new nn.ConvTranspose1d(2, 2, 1, u),
  ConvTranspose2d: (u) => new nn.ConvTranspose2d(2, 2, 1, u),
  ConvTranspose3d: (u) => new nn.ConvTranspose3d(2, 2, 1, u),
  GroupNorm: (u) => new nn.GroupNorm(1, 2, u),
  InstanceNorm2d: (u) => new nn.InstanceNorm2d(2, u),
  LayerNorm: (u) => new nn.LayerNorm(2, u),
  RMSNorm: (u) => new nn.RMSNorm(2, u),
  BatchNorm2d: (u) => new nn.BatchNorm2d(2, u),
  ELU: (u) => new nn.ELU(u),
  GELU: (u) => new nn.GELU(u),
  LeakyReLU: (u) => new nn.LeakyReLU(u),
  PReLU: (u) => new nn.PReLU(1, u),
  Softplus: (u) => new nn.Softplus(u),
  Dropout: (u) => new nn.Dropout(0.5, u),
  Flatten: (u) => new nn.Flatten(u),
  Embedding: (u) => new nn.Embedding(2, 2, u),
  GaussianFourierProjection: (u) => new nn.GaussianFourierProjection(2, u),
  rotaryEmbedding: (u) => nn.rotaryEmbedding(x, u),
  sinusoidalEmbedding: (u) => nn.sinusoidalEmbedding(x, 2, u),
  MultiheadAttention: (u) => new nn.MultiheadAttention(2, 1, u),
  'MultiheadAttention.forward': (u) => new nn.MultiheadAttention(2, 1).call(ones([1, 2, 2]), undefined, undefined, u),
  FeedForward: (u) => new nn.FeedForward(2, u),
  GEGLU: (u) => new nn.GEGLU(2, 2, u),
  SwiGLU: (u) => new nn.SwiGLU(2, 2, u),
  AvgPool2d: (u) => new nn.AvgPool2d(2, u),
  Downsample2D: (u) => new nn.Downsample2D(2, u),
  MaxPool2d: (u) => new nn.MaxPool2d(2, u),
  Upsample: (u) => new nn.Upsample({ scaleFactor: 2, ...u }),
  Upsample2D: (u) => new nn.Upsample2D(2, u),
  Adam: (u) => new nn.Adam(parameters, u),
  AdamW: (u) => new nn.AdamW(parameters, u),
  Adamax: (u) => new nn.Adamax(parameters, u),
  NAdam: (u) => new nn.NAdam(parameters, u),
  RAdam: (u) => new nn.RAdam(parameters, u),
  Adadelta: (u) => new nn.Adadelta(parameters, u),
  Adagrad: (u) => new nn.Adagrad(parameters, u),
  RMSprop: (u) => new nn.RMSprop(parameters, u),
  Adafactor: (u) => new nn.Adafactor(parameters, u),
  Lion: (u) => new nn.Lion(parameters, u),
  Muon: (u) => new nn.Muon(parameters, u),
  SGD: (u) => new nn.SGD(parameters, u),
  'Optimizer.update': (u) => adamW.update({ w: ones([4, 4]) }, u),
  'Optimizer.load': (u) => adamW.load(file, u),
  'Optimizer.loadStateDict': (u) => adamW.loadStateDict(new Map(), { strict: false, ...u }),
  cosineRestartsSchedule: (u) => nn.cosineRestartsSchedule(1, { steps: 2, ...u }),
  cosineSchedule: (u) => nn.cosineSchedule(1, { steps: 2, ...u }),
  exponentialSchedule: (u) => nn.exponentialSchedule(1, { gamma: 1, ...u }),
  inverseSqrtSchedule: (u) => nn.inverseSqrtSchedule(1, { timescale: 1, ...u }),
  linearSchedule: (u) => nn.linearSchedule(1, { steps: 2, ...u }),
  multiStepSchedule: (u) => nn.multiStepSchedule(1, { milestones: [1], ...u }),
  oneCycle: (u) => nn.oneCycle(1, { steps: 10, ...u }),
  polynomialSchedule: (u) => nn.polynomialSchedule(1, { steps: 2, ...u }),
  stepSchedule: (u) => nn.stepSchedule(1, { size: 2, ...u }),
  withWarmup: (u) => nn.withWarmup(schedule, 2, u),
  EMA: (u) => new nn.EMA(parameters, u),
  'EMA.load': (u) => ema.load(file, u),
  'EMA.loadStateDict': (u) => ema.loadStateDict(new Map(), { strict: false, ...u }),
  halfLifeDecay: (u) => nn.halfLifeDecay(1, { batch: 1, ...u }),
  powerWarmupDecay: (u) => nn.powerWarmupDecay(0.9, u),
  loadCheckpoint: (u) => nn.loadCheckpoint({}, file, u),
  loadVariables: (u) => nn.loadVariables({}, new Map(), u),
  openCheckpoint: (u) => nn.openCheckpoint(file, u),
  saveCheckpoint: (u) => nn.saveCheckpoint(path.join(import.meta.dirname, 'no such folder/x'), {}, u),
  decodeSafetensors: (u) => nn.decodeSafetensors(file, 'file', u),
  encodeSafetensors: (u) => nn.encodeSafetensors(new Map(), {}, u),
  streamSafetensors: (u) => nn.streamSafetensors({}, u),
}

const noisePath = diffusion.discretePath()
const unet: diffusion.UNet2DConfig = { in_channels: 1, out_channels: 1, block_out_channels: [8], layers_per_block: 1, norm_num_groups: 4, down_block_types: ['DownBlock2D'], up_block_types: ['UpBlock2D'], attention_head_dim: 8 }
const said: diffusion.Denoiser = (y, level) => diffusion.Prediction.ofImage(y, y, level)
Object.assign(calls, {
  linearBetas: (u) => diffusion.linearBetas(10, u), scaledLinearBetas: (u) => diffusion.scaledLinearBetas(10, u), sigmoidBetas: (u) => diffusion.sigmoidBetas(10, u), jabriBetas: (u) => diffusion.jabriBetas(10, u),
  vpPath: diffusion.vpPath, vePath: diffusion.vePath, edmPath: diffusion.edmPath, cosinePath: diffusion.cosinePath, laplacePath: diffusion.laplacePath, flowPath: diffusion.flowPath,
  fluxShift: (u) => diffusion.fluxShift(256, u), levels: (u) => diffusion.levels(noisePath, 4, undefined, u),
  leading: diffusion.leading, evenly: diffusion.evenly, karras: diffusion.karras, exponential: diffusion.exponential, lu: diffusion.lu, beta: diffusion.beta,
  epsPrediction: diffusion.epsPrediction, imagePrediction: diffusion.imagePrediction, vPrediction: diffusion.vPrediction, flowPrediction: diffusion.flowPrediction,
  scorePrediction: diffusion.scorePrediction, edmPrediction: diffusion.edmPrediction, clipped: diffusion.clipped, thresholded: diffusion.thresholded,
  classifierFree: (u) => diffusion.classifierFree({ scale: 2, negative: {}, ...u }), rescaled: diffusion.rescaled, projected: diffusion.projected, zeroStar: diffusion.zeroStar,
  autoguidance: (u) => diffusion.autoguidance({ scale: 2, guide: said, ...u }), perturbedAttention: (u) => diffusion.perturbedAttention({ scale: 2, perturbed: said, ...u }),
  interval: (u) => diffusion.interval((denoise) => denoise, u), classifierGuidance: (u) => diffusion.classifierGuidance({ scale: 2, logProbability: (y) => y, ...u }),
  consistencyBoundary: diffusion.consistencyBoundary, ddim: diffusion.ddim, ancestralEuler: diffusion.ancestralEuler, ddpm: diffusion.ddpm, edmStochastic: diffusion.edmStochastic, ancestralDpm2: diffusion.ancestralDpm2,
  dpmSolver2M: diffusion.dpmSolver2M, dpmSolver2S: diffusion.dpmSolver2S, dpmSolver3M: diffusion.dpmSolver3M, dpmSolverSde: diffusion.dpmSolverSde, dpmSolver: diffusion.dpmSolver,
  dpmSolver3S: diffusion.dpmSolver3S, dpmSolverAdaptive: diffusion.dpmSolverAdaptive,
  startingNoise: (u) => diffusion.startingNoise({ path: noisePath, levels: diffusion.levels(noisePath, 1), shape: [2], seeds: [1], device: meta, ...u }), loadState: (u) => diffusion.loadState({ step: 0, numbers: {}, x: { shape: [], values: [1] }, memory: {} }, u),
  dopri5: diffusion.dopri5, unipc: diffusion.unipc, saSolver: diffusion.saSolver, fromDiffusers: (u) => diffusion.fromDiffusers({ _class_name: 'DDIMScheduler' }, u), bitsPerDimension: (u) => diffusion.bitsPerDimension(image, [1], u), logLikelihood: (u) => diffusion.logLikelihood(said, image, { path: noisePath, seeds: [1], ...u }),
  ipndm: diffusion.ipndm, deis: diffusion.deis, lms: diffusion.lms, tcd: diffusion.tcd, annealedLangevin: diffusion.annealedLangevin,
  withCorrector: (u) => diffusion.withCorrector(diffusion.ddim(), u), inpainting: (u) => diffusion.inpainting(diffusion.ddim(), { image, keep: image, ...u }),
  samplingPeak: (u) => diffusion.samplingPeak(said, { path: noisePath, levels: diffusion.levels(noisePath, 1), sampler: diffusion.ddim(), shape: [2], seeds: [1], device: meta, ...u }),
  sample: (u) => diffusion.sample(said, { path: noisePath, levels: diffusion.levels(noisePath, 1), sampler: diffusion.ddim(), shape: [2], seeds: [1], device: meta, ...u }),
  diffusionLoss: (u) => diffusion.diffusionLoss((y) => y, image, { path: noisePath, t: ones([1], { dtype: 'i32' }), eps: image, ...u }),
  TimestepEmbedding: (u) => new diffusion.TimestepEmbedding(2, 2, u), UNet2D: (u) => new diffusion.UNet2D(unet, u),
  Trainer: (u) => new diffusion.Trainer({ model, device: meta, examples: { shape: [1, 2], values: new Float32Array(2) }, batch: 1, loss: (y) => y, generator: new engine.RandomGenerator(1), ...u }),
} satisfies Record<string, Call>)

/** What errors name where it is neither the function nor the class: who is called by it. */
const named: Record<string, string> = {
  'Profile.table': 'table',
  'Optimizer.update': 'AdamW',
  'LossScaler.load': 'loadCheckpoint', 'Optimizer.load': 'loadCheckpoint', 'EMA.load': 'loadCheckpoint',
  'LossScaler.loadStateDict': 'loadVariables', 'Optimizer.loadStateDict': 'loadVariables', 'EMA.loadStateDict': 'loadVariables',
}

/** What a call throws, now or later. */
async function errorOf(call: () => unknown): Promise<unknown> {
  try {
    await call()
    return undefined
  } catch (error) {
    return error
  }
}

test.each(Object.entries(calls))('%s', async (name, call) => {
  const op = named[name] ?? name.split('.')[0]
  expect(await errorOf(() => call({ nonsense: undefined }))).toEqual(new engine.ConfigError(`${op}: has no option "nonsense"; check its spelling`))
  // That it was nothing else in the call.
  expect(String(await errorOf(() => call({})))).not.toContain('ConfigError')
})

/** Parameters that are options: taken apart in the signature, or of a type of that name. */
const takesOptions = (parameters: string): boolean => /\{ [^{}]*(?:\{\}[^{}]*)* \}: |\b[a-z]\w*\??: [^,]*\w*Options\b/.test(parameters)

/** The functions, constructors and methods in the sources that take options. */
function optionTakers(text: string): string[] {
  const found = [...text.matchAll(/^export (?:async )?function (\w+)(.*)$/gm)].filter(([, , parameters = '']) => takesOptions(parameters)).map(([, name = '']) => name)
  const classes = [...text.matchAll(/^(?:export )?(?:abstract )?class (\w+)(?:.* extends (\w+))?[^]*?^\}$/gm)].map(([body, name = '', base = '']) => ({ name, base, body }))
  for (const { name, base, body } of classes) {
    const inherited = /^ {2}constructor/m.test(body) ? '' : (classes.find((one) => one.name === base)?.body ?? '')
    for (const [, method = '', parameters = ''] of (body + inherited).matchAll(/^ {2}(?:async )?(\w+)(?:<.*>)?(\(.*)$/gm)) {
      if (takesOptions(parameters)) found.push(method === 'constructor' ? name : `${name}.${method}`)
    }
  }
  return found
}

test('there is a call of everything that takes options', () => {
  const exported = new Set([...Object.keys(engine), ...Object.keys(nn), ...Object.keys(diffusion)])
  const found = sources(path.resolve(import.meta.dirname, '..'), ['engine', 'nn', 'diffusion']).flatMap(({ text }) => optionTakers(text))
  // What is restored or written is no options.
  const data = new Set(['RandomGenerator.restore', 'Trainer.restore', 'encodeTraining', 'saveState'])
  const expected = new Set(found.filter((name) => exported.has(name.split('.')[0] ?? '') && !data.has(name)))
  expect([...expected].sort()).toEqual(Object.keys(calls).sort())
})

describe('options of something else are refused, too', () => {
  const untyped = (run: (...given: never[]) => unknown, ...given: readonly unknown[]): unknown => Reflect.apply(run, undefined, given)
  const made = (kind: new (...given: never[]) => unknown, ...given: readonly unknown[]): unknown => Reflect.construct(kind, given)

  test.each<[string, () => unknown, op: string, name: string]>([
    ['of uniform', () => untyped(engine.bernoulli, [2], { probability: 0.5, low: 0.5 }), 'bernoulli', 'low'],
    ['of maxPool2d', () => untyped(engine.avgPool2d, image, 2, { dilation: 2 }), 'avgPool2d', 'dilation'],
    ['of avgPool2d', () => untyped(engine.maxPool2d, image, 2, { countIncludePad: false }), 'maxPool2d', 'countIncludePad'],
    ['of the peaks', () => untyped(engine.profile, meta, () => 1, { peaks: { flops: 1 } }), 'profile', 'flops'],
    ['of polynomialSchedule', () => untyped(nn.linearSchedule, 1, { steps: 2, power: 2 }), 'linearSchedule', 'power'],
    ['of the convolution inside', () => made(nn.Upsample2D, 2, { stride: 2 }), 'Upsample2D', 'stride'],
    ['of all groups', () => made(nn.AdamW, [{ parameters, maxNorm: 1 }]), 'AdamW', 'maxNorm'],
    ['of Muon, of a group of AdamW', () => made(nn.Muon, [{ parameters, useMuon: false, nesterov: true }]), 'AdamW', 'nesterov'],
    ['of AdamW, of a group of Muon', () => made(nn.Muon, [{ parameters, amsgrad: true }]), 'Muon', 'amsgrad'],
    ['of no group of Muon', () => made(nn.Muon, [{ parameters, useMuon: false }], { nonsense: 1 }), 'Muon', 'nonsense'],
    ['a tensor is no options', () => engine.scalar(1, x), 'scalar', 'node'],
  ])('%s', async (_, call, op, name) => {
    expect(await errorOf(call)).toEqual(new engine.ConfigError(`${op}: has no option "${name}"; check its spelling`))
  })
})
