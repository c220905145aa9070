/** The op table: a row for every op. An op without a row, or a row whose attributes are not the op's, does not compile. */
import * as fc from 'fast-check'
import type { Shape } from '../engine/shape.ts'
import { sample, shapes } from '../testing/index.ts'
import type { ShapeOptions } from '../testing/index.ts'
import { alike, alongAxis, call, floats, integers, numbers, operands, reduction, small } from './op-calls.ts'
import type { Calls, Row } from './op-calls.ts'
import { attentionCalls, attentionGradCalls, convCalls, convInputGradCalls, convWeightGradCalls, groupNormCalls, groupNormGradCalls, layerNormCalls, linearCalls, matmulCalls, stepNumbers, updateCalls } from './op-shapes.ts'
import type { AttributesOf, OpName } from './op-records.ts'

const comparison: Row = { ...numbers(2, [-1, 1], null), calls: fc.oneof(numbers(2, [-1, 1]).calls, integers(2, { i32: [-2, 2], u32: [0, 2], u8: [0, 2], bool: [0, 1] })) }
// Remainders and quotients by zero are zero.
const division: Row = { calls: integers(2, { i32: [-5, 5], u32: [0, 5] }), smooth: null }
const bits: Row = { calls: integers(2, { i32: [-(2 ** 31), 2 ** 31 - 1], u32: [0, 2 ** 32 - 1], bool: [0, 1] }), smooth: null }
const shift: Row = {
  calls: fc.constantFrom('i32', 'u32').chain((dtype) => shapes().chain((shape) => call(operands(sample(shape, { dtype, range: dtype === 'i32' ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1] }), sample(shape, { dtype, range: [0, 31] })), {}))),
  smooth: null,
}
const piecewise: Row = floats(1, [-40, 40], null)

const casts: Calls<AttributesOf<'castOp'>> = fc
  .constantFrom('f32', 'i32', 'u32', 'u8', 'bool', 'bf16')
  .chain((dtype) => {
    const range = dtype === 'bool' ? [0, 1] as const : dtype === 'u8' ? [0, 255] as const : dtype === 'u32' ? [0, 2 ** 32 - 1] as const : dtype === 'i32' ? [-(2 ** 31), 2 ** 31 - 1] as const : [-3e9, 5e9] as const
    return fc.tuple(alike(1, shapes(), { dtype, range }), fc.constantFrom('f32', 'i32', 'u32', 'bool', 'bf16'))
  })
  .map(([list, dtype]) => ({ operands: list, attributes: { dtype } }))

function reshapes(options: ShapeOptions): Calls<{ shape: Shape }> {
  return shapes(options).chain((from) => {
    const size = from.reduce((n, d) => n * d, 1)
    return fc.record({ operands: operands(sample(from)), attributes: fc.constantFrom([size], [...from, 1], from.toReversed(), [1, size, 1]).map((shape) => ({ shape })) })
  })
}

function permutes(options: ShapeOptions): Calls<{ axes: readonly number[] }> {
  return shapes(options).chain((shape) => {
    const axes = [...shape.keys()]
    // A rotation is not its own inverse.
    const orders = fc.oneof(fc.constant([...axes.slice(1), ...axes.slice(0, 1)]), fc.shuffledSubarray(axes, { minLength: axes.length }))
    return fc.record({ operands: operands(sample(shape)), attributes: orders.map((order) => ({ axes: order })) })
  })
}

function expands(options: ShapeOptions): Calls<{ shape: Shape }> {
  return shapes(options).chain((shape) =>
    fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }).chain((ones) => call(operands(sample(shape.map((d, i) => (ones[i] === true ? 1 : d)))), { shape })),
  )
}

function slices(options: ShapeOptions): Calls<AttributesOf<'sliceOp'>> {
  return shapes(options).chain((shape) => {
    const axis = (d: number): fc.Arbitrary<{ start: number; size: number; step: number }> =>
      fc.record({ low: fc.nat(Math.ceil(d / 3)), rest: fc.nat(Math.ceil(d / 3)), step: fc.constantFrom(1, 2, 3), back: fc.boolean() }).map(({ low, rest, step, back }) => {
        const high = Math.max(low, d - rest)
        const size = Math.ceil((high - low) / step)
        return back && size > 0 ? { start: low + (size - 1) * step, size, step: -step } : { start: low, size, step }
      })
    const attributes = fc.tuple(...shape.map(axis)).map((list) => ({ start: list.map((a) => a.start), size: list.map((a) => a.size), step: list.map((a) => a.step) }))
    return fc.record({ operands: operands(sample(shape)), attributes })
  })
}

function pads(options: ShapeOptions): Calls<AttributesOf<'padOp'>> {
  return shapes(options).chain((shape) => {
    const list = fc.array(fc.nat(2), { minLength: shape.length, maxLength: shape.length })
    return fc.record({ operands: operands(sample(shape)), attributes: fc.record({ low: list, high: list, interior: list }) })
  })
}

function concats(options: ShapeOptions): Calls<{ axis: number }> {
  return shapes({ rank: [1, 3], ...options }).chain((shape) =>
    fc.tuple(fc.nat(shape.length - 1), fc.array(fc.constantFrom(0, 1, 2, 5, 33), { minLength: 1, maxLength: 3 })).chain(([axis, sizes]) =>
      call(operands(...sizes.map((size) => sample(shape.map((d, i) => (i === axis ? size : d))))), { axis }),
    ),
  )
}

/** x, an index that stays inside the axis, and for scattering what is added. */
function places(options: ShapeOptions, scatter: boolean): Calls<{ axis: number }> {
  return shapes({ rank: [1, 3], sizes: [1, 2, 3, 5, 31, 33], ...options }).chain((shape) =>
    fc.tuple(fc.nat(shape.length - 1), fc.constantFrom(0, 1, 3, 8)).chain(([axis, count]) => {
      const taken = shape.map((d, i) => (i === axis ? count : d))
      const index = sample(taken, { dtype: 'i32', range: [0, (shape[axis] ?? 1) - 1] })
      return call(operands(sample(shape), index, ...(scatter ? [sample(taken)] : [])), { axis })
    }),
  )
}

const withZeros: Calls<{ axes: readonly number[] }> = fc.constant({ operands: [[[0, 2, 3], [0, 0, 2], [1, 2, 3]]], attributes: { axes: [1] } })
const scan = (axis: number): fc.Arbitrary<AttributesOf<'cumsumOp'>> => fc.boolean().map((reverse) => ({ axis, reverse }))
const order = (axis: number): fc.Arbitrary<AttributesOf<'argsortOp'>> => fc.boolean().map((descending) => ({ axis, descending }))
const axisOnly = (axis: number): fc.Arbitrary<{ axis: number }> => fc.constant({ axis })
const short: ShapeOptions = { elements: 1100 }

type Table = { readonly [N in OpName]: Row<AttributesOf<N>> }

export const table: Table = {
  // Elementwise.
  literalOp: { calls: fc.constantFrom<AttributesOf<'literalOp'>>({ value: 0.1, dtype: 'f32' }, { value: -Infinity, dtype: 'f32' }, { value: -3, dtype: 'i32' }, { value: 1, dtype: 'bool' }).map((attributes) => ({ operands: [], attributes })), smooth: null },
  castOp: { calls: casts, smooth: call(alike(1, shapes(small)), { dtype: 'f32' }) },
  addOp: numbers(2, [-3, 3]),
  subOp: numbers(2, [-3, 3]),
  mulOp: numbers(2, [-3, 3]),
  divOp: floats(2, [-3, 3], [0.5, 2]),
  negOp: numbers(1, [-3, 3]),
  eqOp: comparison,
  neOp: comparison,
  ltOp: comparison,
  leOp: comparison,
  whereOp: { calls: shapes(short).chain((shape) => call(operands(sample(shape, { dtype: 'bool' }), sample(shape), sample(shape)), {})) },
  expOp: floats(1, [-20, 20], [-2, 2]),
  expm1Op: floats(1, [-2, 2]),
  logOp: floats(1, [0, 10], [0.2, 3]),
  log2Op: floats(1, [0, 10], [0.2, 3]),
  log1pOp: floats(1, [-0.9, 3]),
  sqrtOp: floats(1, [0, 10], [0.2, 3]),
  sinOp: floats(1, [-30, 30], [-3, 3]),
  cosOp: floats(1, [-30, 30], [-3, 3]),
  tanhOp: floats(1, [-12, 12], [-2, 2]),
  erfOp: floats(1, [-5, 5], [-2, 2]),
  sigmoidOp: floats(1, [-30, 30], [-3, 3]),
  absOp: { ...numbers(1, [-3, 3]), calls: fc.oneof(floats(1, [-3, 3]).calls, integers(1, { i32: [-9, 9] })) },
  signOp: piecewise,
  floorOp: piecewise,
  ceilOp: piecewise,
  roundOp: piecewise,
  truncOp: piecewise,
  maximumOp: numbers(2, [-3, 3]),
  minimumOp: numbers(2, [-3, 3]),
  powOp: { calls: shapes(short).chain((shape) => call(operands(sample(shape, { range: [0.1, 5] }), sample(shape, { range: [-4, 4] })), {})), smooth: shapes(small).chain((shape) => call(operands(sample(shape, { range: [0.3, 2] }), sample(shape, { range: [-2, 3] })), {})) },
  truncatedDivideOp: division,
  truncatedRemainderOp: division,
  atan2Op: floats(2, [-3, 3], [0.3, 2]),
  andOp: bits,
  orOp: bits,
  xorOp: bits,
  notOp: { calls: integers(1, { i32: [-(2 ** 31), 2 ** 31 - 1], u32: [0, 2 ** 32 - 1], bool: [0, 1] }), smooth: null },
  shlOp: shift,
  shrOp: shift,
  // Movement and reduction.
  reshapeOp: { calls: reshapes({}), smooth: reshapes(small) },
  permuteOp: { calls: permutes({}), smooth: permutes(small) },
  expandOp: { calls: expands({}), smooth: expands(small) },
  sliceOp: { calls: slices({}), smooth: slices(small) },
  padOp: { calls: pads({ elements: 400 }), smooth: pads(small) },
  concatOp: { calls: concats({ elements: 300 }), smooth: concats({ ...small, elements: 8 }) },
  iotaOp: { calls: fc.constantFrom(0, 1, 33, 4099).map((size) => ({ operands: [], attributes: { size } })), smooth: null },
  sumOp: { calls: fc.oneof(reduction({}, {}), reduction({}, { dtype: 'i32', range: [-99, 99] })), smooth: reduction(small, {}) },
  maxOp: { calls: fc.oneof(reduction({}, {}), reduction({ sizes: [1, 3, 31, 33] }, { dtype: 'i32', range: [-99, 99] })), smooth: reduction({ ...small, sizes: [1, 2, 3, 5] }, { views: ['plain', 'permuted', 'strided'] }) },
  minOp: { calls: fc.oneof(reduction({}, {}), reduction({ sizes: [1, 3, 31, 33] }, { dtype: 'i32', range: [-99, 99] })), smooth: reduction({ ...small, sizes: [1, 2, 3, 5] }, { views: ['plain', 'permuted', 'strided'] }) },
  prodOp: { calls: reduction({ elements: 300 }, { range: [0.8, 1.2] }), smooth: fc.oneof(reduction(small, { range: [0.5, 1.5] }), withZeros) },
  cumsumOp: { calls: alongAxis(short, {}, scan), smooth: alongAxis(small, {}, scan) },
  argsortOp: { calls: fc.oneof(alongAxis(short, {}, order), alongAxis(short, { dtype: 'i32', range: [0, 3] }, order), order(0).map((attributes) => ({ operands: [[3, NaN, 1, Infinity, 1, NaN, -0, 0]], attributes }))), smooth: null },
  randomBitsOp: {
    calls: fc.tuple(fc.constantFrom(1, 2, 5), fc.constantFrom(0, 1, 4, 31, 33, 4099)).chain(([rows, length]) => {
      const words = sample([rows, 2], { dtype: 'u32', range: [0, 2 ** 32 - 1] })
      const last = sample([rows, 2], { dtype: 'u32', range: [2 ** 32 - 1, 2 ** 32 - 1] }) // The next counter is 0.
      return fc.oneof(call(operands(words, words), { length }), call(operands(words, last), { length }))
    }),
    smooth: null,
  },
  gatherOp: { calls: places({}, false), smooth: places({ ...small, sizes: [1, 2, 3, 5] }, false) },
  scatterAddOp: { calls: places({}, true), smooth: places({ ...small, sizes: [1, 2, 3, 5] }, true) },
  // Contraction.
  matmulOp: { calls: matmulCalls([0, 1, 2, 5, 31, 33]), smooth: matmulCalls([1, 2, 3]) },
  linearOp: { calls: linearCalls([0, 1, 2, 5, 31, 33]), smooth: linearCalls([1, 2, 3]) },
  linearGradOp: { calls: linearCalls([0, 1, 2, 5, 31, 33], true), smooth: linearCalls([1, 2, 3], true) },
  convOp: { calls: convCalls('large'), smooth: convCalls('small') },
  convInputGradOp: { calls: convInputGradCalls('large'), smooth: convInputGradCalls('small') },
  convWeightGradOp: { calls: convWeightGradCalls('large'), smooth: convWeightGradCalls('small') },
  // Normalisation, attention, optimisation.
  softmaxOp: { calls: alongAxis({}, { range: [-9, 9] }, axisOnly), smooth: alongAxis(small, {}, axisOnly) },
  softmaxGradOp: { calls: alongAxis({}, {}, axisOnly, 2), smooth: alongAxis(small, {}, axisOnly, 2) },
  groupNormOp: { calls: groupNormCalls('large'), smooth: groupNormCalls('small') },
  groupNormGradOp: { calls: groupNormGradCalls('large'), smooth: groupNormGradCalls('small') },
  layerNormOp: { calls: layerNormCalls('large'), smooth: layerNormCalls('small') },
  layerNormGradOp: { calls: layerNormCalls('large', true), smooth: layerNormCalls('small', true) },
  attentionOp: { calls: attentionCalls('large'), smooth: attentionCalls('small') },
  attentionGradOp: { calls: attentionGradCalls('large'), smooth: attentionGradCalls('small') },
  adamwOp: { calls: updateCalls([0, 1, 5, 33, 4099]), smooth: updateCalls([1, 3], stepNumbers.slice(0, 2)) },
  squaredNormOp: { calls: fc.array(shapes(), { minLength: 1, maxLength: 3 }).chain((list) => call(operands(...list.map((shape) => sample(shape))), { chunk: 64 })), smooth: call(operands(sample([2, 3]), sample([]), sample([0, 2])), { chunk: 4 }) },
  // What only gradients see.
  aliasOp: { calls: call(alike(1, shapes(short)), {}), smooth: call(alike(1, shapes(small)), {}) },
  stopGradientOp: { calls: call(alike(1, shapes(short)), {}), smooth: null },
  barrierOp: { calls: call(alike(2, shapes(short)), {}), smooth: call(alike(2, shapes(small)), {}) },
  customGradientOp: { calls: call(alike(3, shapes(short)), { count: 2, rule: () => [] }), smooth: null },
}
