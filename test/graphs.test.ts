/**
 * Random programs of movement, arithmetic and reductions on every device against the reference, with their gradients:
 * what fusion, views, layouts and the memory plan make of ops that are each right on their own. `SEED=…` tries others.
 */
import * as fc from 'fast-check'
import { afterAll, expect } from 'vitest'
import { add, concat, cumsum, expand, flip, grad, less, matmul, max, mul, permute, reshape, roll, slice, softmax, sub, sum, tanh, tensor, transpose, variable, where } from '../engine/index.ts'
import type { Tensor } from '../engine/index.ts'
import { zeroPad } from '../engine/ops/movement.ts'
import { realize } from '../engine/realize.ts'
import { difference } from '../testing/compare.ts'
import { checkAgainstReference, sample, shapes } from '../testing/index.ts'
import type { Sample } from '../testing/index.ts'
import { Device, withDefaultDevice } from '../engine/device/device.ts'
import { ReferenceBackend } from '../engine/device/reference/backend.ts'
import { casesOn, closeAll, onEach, openAll } from './devices.ts'

const devices = await openAll()
afterAll(async () => closeAll(devices))

const seed = Number(process.env['SEED'] ?? 20260101)

/** One instruction: which op, which earlier values, and a number that it makes use of as it can. */
interface Instruction {
  readonly op: number
  readonly x: number
  readonly y: number
  readonly n: number
}

type Op = (x: Tensor, y: Tensor, n: number) => Tensor

const axisOf = (x: Tensor, n: number): number => n % Math.max(1, x.rank)
const nonScalar = (f: Op): Op => (x, y, n) => (x.rank === 0 ? reshape(x, [1]) : f(x, y, n))
/** `y` in the shape of `x`: by broadcasting if its sum does. */
const fitted = (y: Tensor, x: Tensor): Tensor => (y.shape.join() === x.shape.join() ? y : expand(sum(y), x.shape))

const ops: readonly Op[] = [
  (x, y) => tanh(add(x, fitted(y, x))),
  (x, y) => mul(x, fitted(tanh(y), x)),
  (x, y, n) => sub(mul(x, n / 8), fitted(tanh(y), x)),
  (x) => where(less(x, 0), x, tanh(x)), // Without a jump, on whose sides two devices may stand.
  nonScalar((x, _, n) => permute(x, [...x.shape.keys()].map((i) => (i + n) % x.rank))),
  nonScalar((x, _, n) => flip(x, axisOf(x, n))),
  nonScalar((x, _, n) => slice(x, x.shape.map((d, i) => (i === axisOf(x, n) ? [n % 2, d, 1 + (n % 3)] : [0, d])))),
  (x, _, n) => zeroPad(x, x.shape.map((__, i) => (n + i) % 2), x.shape.map((__, i) => (n + i) % 3)),
  (x) => reshape(x, [x.size]),
  (x) => reshape(x, [...x.shape, 1]),
  nonScalar((x, _, n) => sum(x, axisOf(x, n), { keepDims: n % 2 === 0 })),
  nonScalar((x, _, n) => (x.shape[axisOf(x, n)] === 0 ? x : max(x, axisOf(x, n)))),
  nonScalar((x, _, n) => softmax(x, axisOf(x, n))),
  nonScalar((x, y, n) => concat([x, fitted(tanh(y), x), x], axisOf(x, n))),
  nonScalar((x, _, n) => roll(x, n, axisOf(x, n))),
  nonScalar((x, _, n) => tanh(cumsum(x, axisOf(x, n)))),
  (x, _, n) => expand(x, [1 + (n % 3), ...x.shape]),
  (x) => (x.rank < 2 ? x : tanh(matmul(x, transpose(x)))),
]

const most = 20000

function execute(program: readonly Instruction[], leaves: readonly Tensor[]): Tensor[] {
  const values = [...leaves]
  const pick = (i: number): Tensor => values[values.length - 1 - (i % Math.min(4, values.length))] ?? tensor(0)
  for (const { op, x, y, n } of program) {
    const value = ops[op % ops.length]?.(pick(x), pick(y), n)
    if (value !== undefined && value.size <= most && value.rank <= 5) values.push(value)
  }
  return values.slice(leaves.length).slice(-3)
}

const instruction: fc.Arbitrary<Instruction> = fc.record({ op: fc.nat(ops.length - 1), x: fc.nat(3), y: fc.nat(3), n: fc.nat(9) })
interface Program {
  readonly program: readonly Instruction[]
  readonly leaves: readonly [Sample, Sample]
}
const programs: fc.Arbitrary<Program> = fc.record({
  program: fc.array(instruction, { minLength: 1, maxLength: 14, size: 'max' }),
  leaves: fc.tuple(shapes({ elements: 400 }), shapes({ elements: 400 })).chain(([x, y]) => fc.tuple(sample(x), sample(y))),
})

/** What once went wrong: padding on an axis of size 1, reduced along another. */
const found: readonly [Program][] = [
  [{ program: [{ op: 7, x: 1, y: 0, n: 7 }, { op: 10, x: 0, y: 0, n: 0 }, { op: 0, x: 0, y: 0, n: 0 }], leaves: [{ shape: [1, 1, 0], dtype: 'f32', seed: 0 }, { shape: [], dtype: 'f32', seed: 0 }] }],
  [{ program: [{ op: 0, x: 0, y: 0, n: 0 }, { op: 7, x: 2, y: 0, n: 3 }, { op: 0, x: 0, y: 3, n: 0 }], leaves: [{ shape: [0], dtype: 'f32', seed: 0 }, { shape: [], dtype: 'f32', seed: 0 }] }],
]

const others = devices.filter(({ kind }) => kind !== 'reference')

onEach(others, 'values of random programs are the reference’s', async (device) => {
  await fc.assert(fc.asyncProperty(programs, async ({ program, leaves }) => checkAgainstReference((...xs) => execute(program, xs), leaves, { device, terms: 1e4, scale: 1 })), { seed, numRuns: casesOn(device, 60), examples: [...found] })
}, 60_000)

const gradients = (program: readonly Instruction[]) => (...xs: Tensor[]): readonly Tensor[] => {
  const ends = execute(program, xs)
  const loss = ends.map((y) => sum(mul(y, tanh(y)))).reduce((x, y) => add(x, y), tensor(0))
  return grad(loss, xs, { unreached: 'zeros' })
}

onEach(others, 'gradients of random programs are the reference’s', async (device) => {
  await fc.assert(fc.asyncProperty(programs, async ({ program, leaves }) => checkAgainstReference(gradients(program), leaves, { device, terms: 1e6, scale: 1 })), { seed, numRuns: casesOn(device, 40) })
}, 60_000)

onEach(others, 'so they are when no op is fused, as while a NaN is looked for', async (device) => {
  device.watch = { kind: 'anomalies', infinities: false }
  try {
    await fc.assert(fc.asyncProperty(programs, async ({ program, leaves }) => checkAgainstReference(gradients(program), leaves, { device, terms: 1e6, scale: 1 })), { seed, numRuns: casesOn(device, 40) })
  } finally {
    device.watch = undefined
  }
}, 60_000)

onEach(others, 'variables that random programs move are the reference’s, step after step', async (device) => {
  const steps = async (on: typeof device, program: readonly Instruction[], leaves: readonly Sample[]): Promise<Tensor[]> => {
    const cells = withDefaultDevice(on, () => leaves.map(({ shape }, i) => variable(tensor(Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, j) => Math.sin(j + i)), shape))))
    for (let step = 0; step < 3; step++) {
      const ends = withDefaultDevice(on, () => {
        const outputs = execute(program, cells.map((c) => c.read()))
        const total = outputs.map((y) => tanh(sum(y))).reduce((x, y) => add(x, y), tensor(0))
        // Each takes what the other held.
        const moved = cells.map((c, i) => tanh(add(c, mul(sum((cells[1 - i] ?? c).read()), total))))
        cells.forEach((c, i) => c.assign(moved[i] ?? c))
        return outputs
      })
      await realize(...ends, ...cells)
    }
    return cells.map((c) => c.read())
  }
  await using reference = new Device(new ReferenceBackend())
  await fc.assert(
    fc.asyncProperty(programs, async ({ program, leaves }) => {
      const problem = await difference(await steps(device, program, leaves), await steps(reference, program, leaves), { terms: 1e6, scale: 1 })
      expect(problem).toBe(undefined)
    }),
    { seed, numRuns: casesOn(device, 20) },
  )
}, 60_000)
