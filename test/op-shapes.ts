/** Calls of ops whose operands' shapes hang together: products, convolutions, norms, attention, the optimiser's step. */
import * as fc from 'fast-check'
import type { NestedArray } from '../engine/create.ts'
import type { InputGradWindow, WeightGradWindow, Window } from '../engine/ops/conv.ts'
import { sizeOf } from '../engine/shape.ts'
import type { Shape } from '../engine/shape.ts'
import { sample } from '../testing/index.ts'
import type { Input } from '../testing/index.ts'
import { operands } from './op-calls.ts'
import type { Calls } from './op-calls.ts'

type Extent = 'small' | 'large'

export function matmulCalls(sizes: readonly number[]): Calls {
  const size = fc.constantFrom(...sizes)
  return fc.tuple(fc.constantFrom<Shape>([], [], [2], [2, 3]), size, size, size).chain(([batch, m, k, n]) =>
    operands(sample([...batch, m, k]), sample([...batch, k, n])).map((list) => ({ operands: list, attributes: {} })),
  )
}

/** x [..., in], weight [out, in] and a bias or none; `gradient`: dy [..., out] in front and no bias. */
export function linearCalls(sizes: readonly number[], gradient = false): Calls {
  const size = fc.constantFrom(...sizes)
  return fc.tuple(fc.constantFrom<Shape>([], [1], [5], [2, 3]), size, size, fc.boolean()).chain(([lead, features, out, biased]) => {
    const [x, weight] = [sample([...lead, features]), sample([out, features])]
    const list = gradient ? [sample([...lead, out]), x, weight] : biased ? [x, weight, sample([out])] : [x, weight]
    return operands(...list).map((all) => ({ operands: all, attributes: {} }))
  })
}

interface Form {
  readonly x: Shape
  readonly w: Shape
  readonly y: Shape
  readonly window: Window
}

const spatialAxis = (most: number): fc.Arbitrary<{ size: number; kernel: number; stride: number; dilation: number; before: number; output: number }> =>
  fc
    .record({ size: fc.integer({ min: 1, max: most }), kernel: fc.integer({ min: 1, max: 4 }), stride: fc.integer({ min: 1, max: 3 }), dilation: fc.integer({ min: 1, max: 2 }), before: fc.nat(2), after: fc.nat(2) })
    .map(({ after, ...axis }) => ({ ...axis, output: Math.floor((axis.size + axis.before + after - axis.dilation * (axis.kernel - 1) - 1) / axis.stride) + 1 }))
    .filter(({ output }) => output >= 1)

/** Operands' shapes of a convolution with one to three spatial axes. */
function forms(extent: Extent): fc.Arbitrary<Form> {
  const [axes, most] = extent === 'small' ? [2, 4] : [3, 9]
  const drawn = fc
    .record({ n: fc.constantFrom(1, 2), groups: fc.constantFrom(1, 1, 2), c: fc.integer({ min: 1, max: 3 }), o: fc.integer({ min: 1, max: 3 }), spatial: fc.array(spatialAxis(most), { minLength: 1, maxLength: axes }) })
    .map(({ n, groups, c, o, spatial }): Form => {
      const output = spatial.map((a) => a.output)
      return {
        x: [n, groups * c, ...spatial.map((a) => a.size)],
        w: [groups * o, c, ...spatial.map((a) => a.kernel)],
        y: [n, groups * o, ...output],
        window: { stride: spatial.map((a) => a.stride), padding: spatial.map((a) => a.before), output, dilation: spatial.map((a) => a.dilation), groups },
      }
    })
    .filter(({ x, y }) => sizeOf(x) <= 2000 && sizeOf(y) <= 2000)
  const plain = { stride: [1, 1], padding: [1, 1], output: [8, 8], dilation: [1, 1], groups: 1 }
  // What networks do: wider than any tile.
  const usual = fc.constantFrom<Form>({ x: [2, 17, 8, 8], w: [33, 17, 3, 3], y: [2, 33, 8, 8], window: plain }, { x: [1, 16, 8, 8], w: [20, 16, 1, 1], y: [1, 20, 4, 4], window: { ...plain, stride: [2, 2], padding: [0, 0], output: [4, 4] } })
  return extent === 'small' ? drawn : fc.oneof({ weight: 4, arbitrary: drawn }, { weight: 1, arbitrary: usual })
}

export function convCalls(extent: Extent): Calls<Window> {
  return forms(extent).chain(({ x, w, window }) => operands(sample(x), sample(w)).map((list) => ({ operands: list, attributes: window })))
}

export function convInputGradCalls(extent: Extent): Calls<InputGradWindow> {
  return forms(extent).chain(({ x, w, y, window }) => operands(sample(y), sample(w)).map((list) => ({ operands: list, attributes: { ...window, input: x.slice(2), channels: x[1] ?? 0 } })))
}

export function convWeightGradCalls(extent: Extent): Calls<WeightGradWindow> {
  return forms(extent).chain(({ x, w, y, window }) => operands(sample(x), sample(y)).map((list) => ({ operands: list, attributes: { ...window, kernel: w.slice(2) } })))
}

interface NormAttributes {
  readonly groups: number
  readonly eps: number
  readonly silu: boolean
}

/** Of few elements the variance may be tiny, so that without an eps differences see third derivatives. */
function norms(extent: Extent): fc.Arbitrary<{ shape: Shape; attributes: NormAttributes }> {
  const channels = extent === 'small' ? [1, 2, 3] : [1, 2, 4, 33]
  const spatial = extent === 'small' ? [[3], [2, 2]] : [[], [1], [7], [8, 8], [3, 5], [33, 31]]
  return fc
    .record({ n: fc.constantFrom(1, 2), groups: fc.constantFrom(1, 2, 3), c: fc.constantFrom(...channels), s: fc.constantFrom<Shape>(...spatial), silu: fc.boolean() })
    .filter(({ c, s }) => c * sizeOf(s) > 1 && c * sizeOf(s) <= 5000)
    .map(({ n, groups, c, s, silu }) => ({ shape: [n, groups * c, ...s], attributes: { groups, eps: extent === 'small' ? 0.1 : 1e-5, silu } }))
}

export function groupNormCalls(extent: Extent): Calls<NormAttributes> {
  return norms(extent).chain(({ shape, attributes }) => {
    const channel = sample(shape.slice(1, 2), { range: [0.5, 1.5] })
    // A view that repeats elements makes groups without variance, where 1/σ magnifies every rounding.
    return operands(sample(shape, { views: ['plain', 'permuted', 'flipped', 'strided'] }), channel, channel).map((list) => ({ operands: list, attributes }))
  })
}

export function groupNormGradCalls(extent: Extent): Calls<NormAttributes> {
  return norms(extent).chain(({ shape, attributes }) => {
    const channel = sample(shape.slice(1, 2), { range: [0.5, 1.5] })
    const statistics = [shape[0] ?? 1, attributes.groups]
    return operands(sample(shape), sample(shape), channel, channel, sample(statistics), sample(statistics, { range: [0.5, 2] })).map((list) => ({ operands: list, attributes }))
  })
}

interface LayerNormForm {
  readonly eps: number
  readonly centred: boolean
}

/** As for group norm. */
export function layerNormCalls(extent: Extent, gradient = false): Calls<LayerNormForm> {
  const lengths = extent === 'small' ? [2, 3, 5] : [2, 7, 33, 400, 4099]
  return fc.record({ rows: fc.constantFrom(1, 2, 5), n: fc.constantFrom(...lengths), centred: fc.boolean() }).chain(({ rows, n, centred }) => {
    const [shape, weight, statistics] = [[rows, n], sample([n], { range: [0.5, 1.5] }), [rows, 1]]
    const list = gradient
      ? operands(sample(shape), sample(shape), weight, sample(statistics), sample(statistics, { range: [0.5, 2] }))
      : operands(sample(shape, { views: ['plain', 'permuted', 'flipped', 'strided'] }), weight, weight)
    return list.map((drawn) => ({ operands: drawn, attributes: { eps: extent === 'small' ? 0.1 : 1e-5, centred } }))
  })
}

interface AttentionForm {
  readonly lead: Shape
  readonly t: number
  readonly s: number
  readonly d: number
  readonly dv: number
  readonly causal: boolean
  /** Masked rows: some queries see no key at all. There lse is infinite, which differences cannot follow. */
  readonly mask: 'none' | 'scores' | 'rows'
}

function attentionForms(extent: Extent): fc.Arbitrary<AttentionForm> {
  const sizes = extent === 'small' ? [1, 2, 3] : [1, 2, 4, 31, 33, 65]
  const size = fc.constantFrom(...sizes)
  const width = fc.constantFrom(...(extent === 'small' ? [1, 2, 3] : [1, 8, 16, 33]))
  return fc.record({ lead: fc.constantFrom<Shape>([], [2], [1, 2]), t: size, s: size, d: width, dv: width, causal: fc.boolean(), mask: fc.constantFrom(...(extent === 'small' ? ['none', 'scores'] as const : ['none', 'scores', 'rows'] as const)) })
}

/** Whether row i of a mask, and so of lse, is the one in three that is masked everywhere. */
const hidden = (row: number): boolean => row % 3 === 1

/** Values of `shape` by position, counted from the last axis. */
function nested(shape: Shape, value: (position: readonly number[]) => number, position: readonly number[] = []): NestedArray {
  const [size, ...rest] = shape
  return size === undefined ? value(position) : Array.from({ length: size }, (_, i) => nested(rest, value, [i, ...position]))
}

function maskOf({ mask, lead, t, s }: AttentionForm): fc.Arbitrary<Input>[] {
  if (mask === 'none') return []
  const shape = [...lead, t, s]
  return [mask === 'scores' ? sample(shape) : fc.constant(nested(shape, ([column = 0, row = 0]) => (hidden(row) || (column > 0 && (row + column) % 5 === 0) ? -Infinity : Math.sin(row + 2 * column))))]
}

export function attentionCalls(extent: Extent): Calls<{ causal: boolean }> {
  return attentionForms(extent).chain((form) => {
    const { lead, t, s, d, dv, causal } = form
    return operands(sample([...lead, t, d]), sample([...lead, s, d]), sample([...lead, s, dv]), sample([], { range: [0.2, 1] }), ...maskOf(form)).map((list) => ({ operands: list, attributes: { causal } }))
  })
}

export function attentionGradCalls(extent: Extent): Calls<{ causal: boolean }> {
  return attentionForms(extent).chain((form) => {
    const { lead, t, s, d, dv, causal, mask } = form
    const lse = mask === 'rows' ? fc.constant(nested([...lead, t], ([row = 0]) => (hidden(row) ? Infinity : 2))) : sample([...lead, t], { range: [1, 3] })
    return operands(
      sample([...lead, t, d]), sample([...lead, s, d]), sample([...lead, s, dv]), sample([], { range: [0.2, 1] }), ...maskOf(form),
      sample([...lead, t, dv]), lse, sample([...lead, t, dv]),
    ).map((list) => ({ operands: list, attributes: { causal } }))
  })
}

/** lr, β₁, β₂, ε, weight decay, both corrections, the gradients' scale, the average's weight, and whether the step counts. */
export const stepNumbers: readonly (readonly number[])[] = [
  [0.1, 0.9, 0.99, 1e-8, 0.01, 0.1, 0.01, 1, 0.01, 1],
  [0, 0.9, 0.999, 1e-6, 0, 0.5, 0.3, 0.25, 0.1, 1],
  [0.1, 0.9, 0.99, 1e-8, 0.01, 0.1, 0.01, 1, 0.01, 0],
]

/** At a step that does not count the derivative by that number is a jump. */
export function updateCalls(sizes: readonly number[], steps: readonly (readonly number[])[] = stepNumbers): Calls<{ count: number; ema: boolean }> {
  return fc.record({ shapes: fc.array(fc.tuple(fc.constantFrom(1, 2), fc.constantFrom(...sizes)), { minLength: 1, maxLength: 3 }), ema: fc.boolean(), step: fc.constantFrom(...steps) }).chain(({ shapes, ema, step }) => {
    const list = (low: number): ReturnType<typeof sample>[] => shapes.map((shape) => sample(shape, { range: [low, 1], views: ['plain', 'permuted'] }))
    const tensors = [...list(-1), ...list(-1), ...list(-1), ...list(0.1), ...(ema ? list(-1) : [])]
    return operands(fc.constant([...step]), ...tensors).map((all) => ({ operands: all, attributes: { count: shapes.length, ema } }))
  })
}
