/**
 * Random programs over the engine, as data: a program runs unchanged on any device, prints in a few lines and shrinks.
 * It is a row of steps; each builds values from variables, host data, numbers and what earlier steps left, takes
 * gradients, assigns variables and realises. Exact programs count in small integers, so that every device must give
 * the same numbers; smooth ones keep to functions without jumps.
 */
import * as fc from 'fast-check'
import {
  Tensor, adamWStep, add, cast, concat, conv2d, cumsum, equal, expand, flip, gather, gelu, grad, groupNorm, indexSelect, less, matmul, max, maximum, min, minimum, mul, neg, permute, pow, realize, recompute, reshape, silu, slice, softmax, square, stopGradient, sub, sum, tanh, tensor, transpose, variable, where, withDefaultDevice,
} from '../../engine/index.ts'
import type { Device, DType, TypedArray, Variable } from '../../engine/index.ts'
import { literal } from '../../engine/ops/elementwise.ts'
import { zeroPad } from '../../engine/ops/movement.ts'
import { readData } from '../../engine/realize.ts'
import { uniform } from '../../testing/samples.ts'

/** Which op, which earlier values (counted from the last), and a number that the op makes use of as it can. */
interface Instruction {
  readonly op: number
  readonly x: number
  readonly y: number
  readonly n: number
}

interface Step {
  readonly body: readonly Instruction[]
  /** How many of the last values are realised, and which value is differentiated by which. */
  readonly outputs: number
  readonly gradient: { readonly loss: number; readonly wrt: readonly number[] } | undefined
  /** Variable `to` moves to value `from`, or to what variable `from` held, if `plain`. */
  readonly assigns: readonly { readonly to: number; readonly from: number; readonly plain: boolean }[]
  /** An AdamW step over the first variables, its results rotated before they are assigned. */
  readonly adamw: { readonly rotate: number; readonly ema: boolean; readonly apply: number; readonly gradient: number } | undefined
  /** Whether the next step waits for this one. */
  readonly wait: boolean
}

export interface Program {
  readonly exact: boolean
  /** What is cast to a half type is cast to this. Default bf16. */
  readonly half?: 'bf16' | 'f16'
  /** Of an exact program: whether some of its numbers are infinite or none at all. */
  readonly special: boolean
  readonly shape: readonly number[]
  readonly seed: number
  /** Whether the variables have their first values before the first step. */
  readonly ready: boolean
  readonly steps: readonly Step[]
}

type Op = (x: Tensor, y: Tensor, n: number, exact: boolean, half: HalfType) => Tensor
type HalfType = NonNullable<Program['half']>

const axisOf = (x: Tensor, n: number): number => n % Math.max(1, x.rank)
const atLeast = (rank: number, f: Op): Op => (x, y, n, exact, half) => f(x.rank >= rank ? x : reshape(x, [...new Array<number>(rank - x.rank).fill(1), ...x.shape]), y, n, exact, half)
const number = (x: Tensor): Tensor => (x.dtype === 'bool' ? cast(x, 'f32') : x)
const float = (x: Tensor): Tensor => (x.dtype === 'f32' || x.dtype === 'bf16' || x.dtype === 'f16' ? x : cast(x, 'f32'))
const wide = (x: Tensor): Tensor => cast(x, 'f32')
/** Keeps numbers small: integers by cutting, others smoothly. */
const tame = (x: Tensor, exact: boolean): Tensor => (exact ? (x.dtype === 'u8' || x.dtype === 'bool' ? x : minimum(maximum(x, -9), 9)) : tanh(x))
/** `y` in the shape of `x`, by broadcasting what it adds up to. */
const fitted = (y: Tensor, x: Tensor, exact: boolean): Tensor => (y.shape.join() === x.shape.join() ? number(y) : expand(tame(sum(number(y)), exact), x.shape))
const data = (shape: readonly number[], seed: number, exact: boolean, dtype: DType = 'f32'): Tensor =>
  tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (exact ? Math.floor(7 * uniform(seed, i)) - 3 : 2 * uniform(seed, i) - 1)), shape, { dtype })
const specials = [Infinity, -Infinity, NaN, -0]
const initial = (i: number, { shape, seed, exact, special }: Program): Tensor => {
  const plain = data(shape, seed + i, exact)
  if (!exact) return add(mul(plain, 0.25), 0.75)
  return special ? where(data(shape, seed + i + 20, true).greater(2), tensor(specials[(seed + i) % 4] ?? 0), plain) : plain
}
const places = (shape: readonly number[], below: number, seed: number): Tensor =>
  tensor(Int32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.floor(below * uniform(seed, i))), shape)
const image = (x: Tensor): Tensor => (x.rank === 4 ? x : reshape(x, [1, ...x.shape.slice(0, x.rank - 2 > 0 ? 1 : 0), ...(x.rank > 2 ? [] : [1]), x.shape.slice(1, -1).reduce((a, b) => a * b, x.rank > 2 ? 1 : (x.shape[0] ?? 1)), x.shape.at(-1) ?? 1]))

/** Ops that give the same numbers on every device where their operands are small integers. */
const exactOps: readonly Op[] = [
  (x, y, _, exact) => add(number(x), fitted(y, x, exact)),
  (x, y, _, exact) => tame(mul(number(x), fitted(y, x, exact)), exact),
  (x, y, _, exact) => sub(number(x), fitted(y, x, exact)),
  (x, _, n) => mul(number(x), (n % 5) - (x.dtype === 'u8' ? 0 : 2)),
  (x, _, n) => add(number(x), literal((n % 3) - (x.dtype === 'u8' ? 0 : 1))),
  (x, _, n) => (x.dtype === 'u8' ? x : neg(add(number(x), literal(n === 0 ? -0 : 0)))),
  atLeast(1, (x, _, n) => permute(x, [...x.shape.keys()].map((i) => (i + n) % x.rank))),
  atLeast(2, (x) => transpose(x)),
  atLeast(1, (x, _, n) => flip(x, axisOf(x, n))),
  atLeast(1, (x, _, n) => slice(x, x.shape.map((d, i) => (i === axisOf(x, n) ? [n % 2, d, 1 + (n % 3)] : [0, d])))),
  atLeast(1, (x, _, n) => slice(x, x.shape.map((d, i) => (i === axisOf(x, n) ? [d - 1, null, -1 - (n % 3)] : null)))),
  (x, _, n) => zeroPad(x, x.shape.map((__, i) => (n + i) % 2), x.shape.map((__, i) => (n + i) % 3)),
  (x, _, n) => zeroPad(x, x.shape.map(() => 0), x.shape.map(() => 0), x.shape.map((__, i) => (n + i) % 2)),
  (x) => reshape(x, [x.size]),
  atLeast(2, (x) => reshape(x, [x.shape[1] ?? 1, x.shape[0] ?? 1, ...x.shape.slice(2)])),
  (x) => reshape(x, [...x.shape, 1]),
  (x, _, n) => expand(x, [1 + (n % 3), ...x.shape]),
  atLeast(1, (x, _, n, exact) => tame(sum(number(x), axisOf(x, n), { keepDims: n % 2 === 0 }), exact)),
  atLeast(1, (x, y, n, exact) => concat([number(x), fitted(y, x, exact), number(x)].map((t, _, [first]) => cast(t, first?.dtype ?? 'f32')), axisOf(x, n))),
  atLeast(1, (x, _, n, exact) => tame(cumsum(wide(x), axisOf(x, n)), exact)),
  atLeast(1, (x, _, n) => x.size === 0 ? x : indexSelect(x, places([1 + (n % 4)], Math.max(1, x.shape[axisOf(x, n)] ?? 1), n), axisOf(x, n))),
  atLeast(1, (x, _, n) => x.size === 0 ? x : gather(x, places(x.shape, Math.max(1, x.shape[axisOf(x, n)] ?? 1), n), axisOf(x, n))),
  atLeast(2, (x, _, n, exact) => tame(matmul(wide(x), n % 2 === 0 ? transpose(wide(x)) : data([x.shape.at(-1) ?? 1, 1 + n], n, exact)), exact)),
  atLeast(2, (x, _, n, exact) => {
    if (x.size === 0) return x
    const image4 = image(wide(x))
    return tame(conv2d(image4, data([1 + (n % 3), image4.shape[1] ?? 1, 1 + 2 * (n % 2), 3], n, exact), { bias: n % 2 === 0 ? data([1 + (n % 3)], n, exact) : undefined, stride: 1 + (n % 2), padding: 1 }), exact)
  }),
  (x, _, __, ___, half) => cast(float(x), half),
  (x) => wide(x),
  (x) => stopGradient(x),
  (x, _, n, exact) => recompute((t) => tame(mul(mul(t, t), (n % 3) - 1), exact), wide(x)),
]
/** Ops, or gradients, that jump where two numbers are equal. */
const jumps: readonly Op[] = [
  (x, y, _, exact) => maximum(number(x), fitted(y, x, exact)),
  (x) => cast(tame(x, true), 'i32'), // 2³¹ − 1, which infinity becomes, is no f32 to go back to.
  (x) => cast(x, 'bool'),
  (x) => cast(maximum(number(x), 0), 'u8'),
  (x, y, n, exact) => where(less(number(x), fitted(y, x, exact)), number(x), (n % 5) - 2 + (x.dtype === 'u8' ? 2 : 0)),
  (x, y, _, exact) => equal(number(x), fitted(y, x, exact)),
  atLeast(1, (x, _, n) => (x.shape[axisOf(x, n)] === 0 ? x : stopGradient((n % 2 === 0 ? max : min)(number(x), axisOf(x, n))))), // Ties share the gradient, in thirds too.
]
const smoothOps: readonly Op[] = [
  (x) => silu(wide(x)),
  (x) => gelu(wide(x)),
  (x) => tanh(x),
  (x) => pow(add(square(wide(x)), 1), -0.5),
  atLeast(1, (x, _, n) => softmax(wide(x), axisOf(x, n))),
  atLeast(2, (x, _, n) => (x.size === 0 ? x : groupNorm(reshape(wide(x), [x.shape[0] ?? 1, x.shape[1] ?? 1, x.size / (x.shape[0] ?? 1) / (x.shape[1] ?? 1)]), n % 2 === 0 ? 1 : (x.shape[1] ?? 1), undefined, undefined, { eps: 0.1, silu: n % 3 === 0 }))),
]
const tables = { exact: [...exactOps, ...jumps], smooth: [...exactOps, ...smoothOps] }

const most = { elements: 40_000, rank: 6 }

function build(body: readonly Instruction[], start: readonly Tensor[], { exact, half = 'bf16' }: Program): Tensor[] {
  const values = [...start]
  const table = exact ? tables.exact : tables.smooth
  const pick = (i: number): Tensor => values[values.length - 1 - (i % values.length)] ?? tensor(0)
  for (const { op, x, y, n } of body) {
    const value = table[op % table.length]?.(pick(x), pick(y), n, exact, half)
    if (value !== undefined && value.size <= most.elements && value.rank <= most.rank) values.push(value)
  }
  return values
}

/** What a variable can take: the value itself where it fits, else something of it. */
function assignable(value: Tensor, shape: readonly number[], exact: boolean): Tensor {
  const t = wide(value)
  const fits = t.size === shape.reduce((a, b) => a * b, 1)
  const same = fits ? reshape(t, shape) : expand(tame(sum(t), exact), shape)
  return exact ? same : add(mul(tanh(same), 0.25), 0.75) // Positive, so that it will do as a second moment.
}

/** A tensor that later steps may read: its value was not overwritten. */
const fresh = ({ leaf }: Tensor): boolean => leaf?.kind === 'stored' || (leaf?.kind === 'cell' && leaf === leaf.cell.now)

interface State {
  readonly cells: readonly Variable[]
  kept: readonly Tensor[]
  /** What was fresh, in the order in which it was asked; what is realised early stays fresh for longer. */
  readonly fresh: boolean[]
}

/** Builds a step and hands it to the queue. Gives its outputs, then the variables. */
function take(step: Step, state: State, program: Program, eager: boolean): { done: Promise<unknown>; results: Promise<TypedArray>[] } {
  const { cells, kept } = state
  const { exact, shape } = program
  const start = [...kept, ...cells.map((c) => c.read())]
  const values = build(step.body, start, program)
  const pick = (i: number): Tensor => values[values.length - 1 - (i % values.length)] ?? tensor(0)
  const made = values.slice(start.length)
  const outputs = made.slice(-step.outputs)
  if (step.gradient !== undefined) {
    const wrt = step.gradient.wrt.map((i) => float(pick(i))).filter((t) => t.dtype === 'f32')
    const loss = sum(tame(wide(pick(step.gradient.loss)), exact))
    outputs.push(...grad(loss, wrt, { unreached: 'zeros' }))
  }
  const moves = step.assigns.map(({ to, from, plain }) => [cells[to], plain ? cells[from % cells.length]?.read() : assignable(pick(from), shape, exact)] as const)
  if (step.adamw !== undefined) moves.push(...adamwMoves(step.adamw, cells, exact))
  const early = eager ? [...made, ...outputs].map(async (t) => realize(t)) : []
  for (const [cell, value] of moves) if (cell !== undefined && value !== undefined) cell.assign(value)
  const done = Promise.all([...early, realize(...outputs, ...cells)])
  const candidates = [...outputs, ...moves.flatMap(([, value]) => value ?? []), ...kept]
  if (!eager) state.fresh.push(...candidates.map(fresh))
  const decided = eager ? state.fresh.splice(0, candidates.length) : state.fresh.slice(-candidates.length)
  state.kept = candidates.filter((_, i) => decided[i]).slice(0, 4)
  return { done, results: [...outputs, ...cells].map(readData) }
}

export interface Outcome {
  readonly results: readonly TypedArray[]
  readonly fresh: readonly boolean[]
}

/** Runs a program and gives what its steps give; like `early` with every value realised by itself before the rest of its step. */
export async function run(program: Program, device: Device, early?: Outcome): Promise<Outcome> {
  const { exact, shape, seed, ready, steps } = program
  const state = withDefaultDevice(device, (): State => ({
    cells: [0, 1, 2, 3].map((i) => variable(initial(i, program), { name: `v${i}` })),
    kept: [data(shape, seed + 9, exact)],
    fresh: [...(early?.fresh ?? [])],
  }))
  const taken: Promise<TypedArray[]>[] = []
  if (ready) await realize(...state.cells)
  for (const step of steps) {
    const { done, results } = withDefaultDevice(device, () => take(step, state, program, early !== undefined))
    const all = Promise.all([done, ...results]).then(([, ...values]) => values)
    taken.push(all)
    if (step.wait) await all
  }
  return { results: (await Promise.all(taken)).flat(), fresh: state.fresh }
}

/** Roundings of a few dozen ops, some in bf16 on the way. */
const relative = 0.1

/** The first difference in words: none in exact programs, in others by magnitude. */
export function difference({ results: got }: Outcome, { results: expected }: Outcome, exact: boolean): string | undefined {
  for (const [i, wanted] of expected.entries()) {
    const value = got[i]
    if (value === undefined || value.length !== wanted.length) return `output ${i} has ${value?.length} elements, not ${wanted.length}`
    let top = 1
    for (const w of wanted) if (Number.isFinite(w)) top = Math.max(top, Math.abs(w))
    for (let k = 0; k < wanted.length; k++) {
      const [g, w] = [value[k] ?? NaN, wanted[k] ?? NaN]
      const same = Object.is(g, w) || (exact ? top > 2 ** 22 || Object.is(g, Math.fround(w)) : Math.abs(g - w) <= relative * top)
      if (!same) return `output ${i}, element ${k} of ${wanted.length} is ${g}, not ${w}`
    }
  }
  return undefined
}

function adamwMoves({ rotate, ema, apply, gradient }: NonNullable<Step['adamw']>, cells: readonly Variable[], exact: boolean): (readonly [Variable | undefined, Tensor | undefined])[] {
  const [p, m, v, average] = cells
  if (p === undefined || m === undefined || v === undefined || average === undefined) return []
  const from = cells[gradient] ?? p
  const result = adamWStep({
    parameters: [p], gradients: [gradient % 2 === 0 ? from : tanh(from)], first: [m], second: [v], ...(ema ? { ema: [average] } : {}),
    lr: 0.05, beta1: 0.9, beta2: 0.99, eps: 0.1, weightDecay: 0.01, correction1: 0.5, correction2: 0.5, apply: exact ? 0 : apply,
  })
  const made = [...result.parameters, ...result.first, ...result.second, ...result.ema]
  return made.map((value, i) => [cells[(i + rotate) % made.length], value])
}

const instruction: fc.Arbitrary<Instruction> = fc.record({ op: fc.nat(99), x: fc.nat(5), y: fc.nat(5), n: fc.nat(9) })
const step: fc.Arbitrary<Step> = fc.record({
  body: fc.array(instruction, { minLength: 1, maxLength: 9, size: 'max' }),
  outputs: fc.integer({ min: 1, max: 3 }),
  gradient: fc.option(fc.record({ loss: fc.nat(2), wrt: fc.array(fc.nat(9), { minLength: 1, maxLength: 3 }) }), { nil: undefined }),
  assigns: fc.array(fc.record({ to: fc.nat(3), from: fc.nat(9), plain: fc.boolean() }), { maxLength: 4 }),
  adamw: fc.option(fc.record({ rotate: fc.nat(3), ema: fc.boolean(), apply: fc.nat(1), gradient: fc.nat(3) }), { nil: undefined, freq: 3 }),
  wait: fc.boolean(),
})
/** Shapes on both sides of where threads share work, and of the width of vectors. */
const shape = fc.constantFrom([3], [2, 3], [4, 2, 3], [1, 5], [2, 0, 3], [7, 33], [2, 3, 4, 5], [6, 37, 53], [130, 97])

export const programs: fc.Arbitrary<Program> = fc.record({ exact: fc.boolean(), special: fc.boolean(), shape, seed: fc.nat(1000), ready: fc.boolean(), steps: fc.array(step, { minLength: 1, maxLength: 3 }) })
