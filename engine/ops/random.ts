/**
 * Draws. Each takes `{ generator }`, or the device's own, and moves it on by what it uses. One generator fills the whole
 * shape; a list gives the first axis one each, so that a sample's noise depends on its own generator and not on the batch
 * it is in:
 * `normal([2, 3, 32, 32], { generator: [new RandomGenerator(7), new RandomGenerator(8)] })`.
 */
import { leafTensor } from '../create.ts'
import { getDefaultDevice } from '../device/device.ts'
import type { Device } from '../device/device.ts'
import type { DType } from '../dtype.ts'
import { isFloat } from '../dtype.ts'
import { ConfigError, DTypeError, ShapeError, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import type { Primitive } from '../op.ts'
import type { RandomGenerator } from '../random.ts'
import { at, checkShape, formatShape, sizeOf } from '../shape.ts'
import type { Shape } from '../shape.ts'
import { remainder } from './arithmetic.ts'
import { add, cast, greaterEqual, less, literal, mul, operandLike, sub, where } from './elementwise.ts'
import type { Operand } from './elementwise.ts'
import { gatherOp } from './indexing.ts'
import { concat } from './join.ts'
import { shiftRight } from './logic.ts'
import { cos, log, sin, sqrt } from './math.ts'
import { expand, reshape } from './movement.ts'
import { narrow, split } from './slice.ts'
import { argsort } from './sort.ts'

/** Word i of row r is word i mod 4 of Philox4x32-10 at the counter (c + ⌊i/4⌋ as low and high word, 0, 0), c and the key being row r's. */
export const randomBitsOp: Primitive<readonly [key: Tensor, counter: Tensor], { length: number }, 'randomBits'> = {
  kind: 'primitive',
  name: 'randomBits',
  shape: ([key], { length }) => ({ shape: [at(key.shape, 0), length], dtype: 'u32' }), // key, counter [rows, 2] u32, low word first
}

export interface DrawOptions {
  /** One for the whole shape, or one for each place of the first axis. Default: the device's. */
  readonly generator?: RandomGenerator | readonly RandomGenerator[] | undefined
  readonly device?: Device
}

export interface FloatDrawOptions extends DrawOptions {
  /** A float type. Default f32; others are drawn in f32 and cast. */
  readonly dtype?: DType
}

const isOne = <T>(generator: T | readonly RandomGenerator[]): generator is T => !Array.isArray(generator)

/** Random words [rows, wordsFor(elements in a row)]; a row for each generator. */
function draw(op: string, shape: Shape, { device = getDefaultDevice(op), generator = device.generator, ...others }: DrawOptions, wordsFor: (elements: number) => number): Tensor {
  refuseOthers(op, others)
  checkShape(op, shape)
  const generators = isOne(generator) ? [generator] : generator
  if (!isOne(generator) && shape[0] !== generator.length) {
    throw new ShapeError(`${op}: ${generator.length} generators for shape ${formatShape(shape)}, whose first axis has ${shape[0] ?? 'no'} places; give one for each, or a single one`)
  }
  const length = wordsFor(sizeOf(isOne(generator) ? shape : shape.slice(1)))
  const starts = generators.map((g) => g.take(length))
  const leaf = (name: 'key' | 'counter'): Tensor => leafTensor(device, { kind: 'data', data: Uint32Array.from(starts.flatMap((s) => [...s[name]])) }, [starts.length, 2], 'u32')
  return apply(randomBitsOp, [leaf('key'), leaf('counter')], { length })
}

function floatType(op: string, dtype: DType): DType {
  if (!isFloat(dtype)) throw new DTypeError(`${op}: dtype ${dtype} has no fractions; draw f32, or use randint`)
  return dtype
}

/** Numbers in [0, 1) from the upper 24 bits of words, exactly. */
const fraction = (words: Tensor): Tensor => mul(cast(shiftRight(words, literal(8)), 'f32'), literal(2 ** -24))

export interface UniformOptions extends FloatDrawOptions {
  /** Default 0. */
  readonly low?: Operand
  /** Default 1. */
  readonly high?: Operand
}

/**
 * Uniform in [low, high), in steps of 2⁻²⁴ of the width; bounds are numbers or tensors that broadcast to `shape`, low ≤ high, as the
 * dtype holds them. Throws ConfigError for numbers that are no such bounds.
 */
export function uniform(shape: Shape, { low = 0, high = 1, dtype = 'f32', ...options }: UniformOptions = {}): Tensor {
  floatType('uniform', dtype)
  if (typeof low === 'number' && typeof high === 'number' && !(low <= high && Number.isFinite(Math.fround(high - low)))) {
    throw new ConfigError(`uniform: there are no f32 numbers to draw from ${low} up to but without ${high}; use finite low ≤ high, less than 3.4e38 apart`)
  }
  const u = reshape(fraction(draw('uniform', shape, options, (n) => n)), shape)
  const plain = low === 0 && high === 1
  if (plain && dtype === 'f32') return u
  const [from, to] = [low, high].map((bound) => expand(operandLike('uniform', bound, u), shape))
  if (from === undefined || to === undefined) throw new RangeError('uniform: two bounds')
  const drawn = cast(plain ? u : add(from, mul(u, sub(to, from))), dtype)
  // What rounds up to `high` is `low`: as much as would round up to that from below.
  return where(greaterEqual(drawn, cast(to, dtype)), cast(from, dtype), drawn)
}

export interface NormalOptions extends FloatDrawOptions {
  /** Default 0. */
  readonly mean?: Operand
  /** Default 1. */
  readonly std?: Operand
}

/**
 * Normal, with `mean` and `std` numbers or tensors that broadcast to `shape`. By Box and Muller: √(−2 ln u)·cos 2πv and
 * √(−2 ln u)·sin 2πv, u in (0, 1] and v in [0, 1) of 24 bits, so no value is beyond 5.77 standard deviations.
 */
export function normal(shape: Shape, { mean, std, dtype = 'f32', ...options }: NormalOptions = {}): Tensor {
  floatType('normal', dtype)
  const rowShape = isOne(options.generator) ? shape : shape.slice(1)
  const n = sizeOf(rowShape)
  const words = draw('normal', shape, options, (count) => 2 * Math.ceil(count / 2)) // [rows, 2 pairs]
  const [first, second] = split(words, 2, 1)
  if (first === undefined || second === undefined) throw new RangeError('normal: two halves')
  const radius = sqrt(mul(literal(-2), log(add(fraction(first), literal(2 ** -24)))))
  const angle = mul(literal(2 * Math.PI), fraction(second))
  const both = concat([mul(radius, cos(angle)), mul(radius, sin(angle))], 1)
  let z = reshape(narrow(both, 1, 0, n), shape)
  if (std !== undefined) z = mul(z, expand(operandLike('normal', std, z), shape))
  if (mean !== undefined) z = add(z, expand(operandLike('normal', mean, z), shape))
  return cast(z, dtype)
}

export interface RandintOptions extends DrawOptions {
  /** Default 0. */
  readonly low?: number
  /** Not included. */
  readonly high: number
}

/** Integers from low to high − 1, i32, each within (high − low)·2⁻³² of equally likely. The bounds are data. */
export function randint(shape: Shape, { low = 0, high, ...options }: RandintOptions): Tensor {
  const range = high - low
  if (!Number.isInteger(low) || !Number.isInteger(high) || range < 1 || range > 2 ** 31 || low < -(2 ** 31) || high > 2 ** 31) {
    throw new ConfigError(`randint: there are no i32 integers to draw from ${low} up to but without ${high}; use low < high, at most 2³¹ apart`)
  }
  const words = draw('randint', shape, options, (n) => n)
  return reshape(add(cast(remainder(words, range), 'i32'), low), shape)
}

export interface BernoulliOptions extends DrawOptions {
  /** Of true: a number or a tensor that broadcasts to `shape`. */
  readonly probability: Operand
}

/** True with the given probability, bool; never at 0, always at 1. */
export function bernoulli(shape: Shape, { probability, device = getDefaultDevice('bernoulli'), generator, ...others }: BernoulliOptions): Tensor {
  refuseOthers('bernoulli', others)
  const u = uniform(shape, { device, generator })
  return less(u, expand(operandLike('bernoulli', probability, u), shape))
}

export interface PermutationOptions {
  /** Default: the device's. */
  readonly generator?: RandomGenerator | undefined
  readonly device?: Device
}

/** 0 … n − 1 in random order, i32: sorted by 64 random bits each. */
export function permutation(n: number, options: PermutationOptions = {}): Tensor {
  const words = draw('permutation', [n], options, (count) => 2 * count) // [1, 2 n]
  const [low, high] = split(reshape(words, [2, n]), 2).map((half) => reshape(half, [n]))
  if (low === undefined || high === undefined) throw new RangeError('permutation: two halves')
  // By the low word first: the second sort keeps that order among equal high words.
  const order = argsort(low)
  return apply(gatherOp, [order, argsort(apply(gatherOp, [high, order], { axis: 0 }))], { axis: 0 })
}

export interface DropoutOptions extends Omit<DrawOptions, 'device'> {
  /** The share of elements to drop, from 0 to 1. Data: another one compiles nothing. */
  readonly p: number
}

/** Elements dropped to 0 at random, the others multiplied by 1 / (1 − p), so that the expectation stays. */
export function dropout(x: TensorLike, { p, generator, ...others }: DropoutOptions): Tensor {
  refuseOthers('dropout', others)
  if (!(p >= 0 && p <= 1)) throw new ConfigError(`dropout: p ${p} is not a share of the elements; use a number from 0 to 1`)
  const kept = greaterEqual(uniform(x.shape, { generator, device: x.device }), p)
  return where(kept, mul(x, p === 1 ? 0 : 1 / (1 - p)), literal(0))
}
