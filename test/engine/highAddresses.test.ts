/**
 * The op table where addresses have no sign: with buffers across 2 GiB, and up to the end of 4 GiB. Pages that nobody touches cost
 * nothing, so that no memory has to be held for it.
 */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { openCpu } from '../../engine/device/cpu/open.ts'
import { Device } from '../../engine/device/device.ts'
import { concat, conv2d, grad, mul, realize, reshape, sum, tensor, transpose } from '../../engine/index.ts'
import type { AnyOp } from '../../engine/op.ts'
import { uniform } from '../../testing/samples.ts'
import type { Call } from '../op-calls.ts'
import { bitsOn } from '../op-checks.ts'
import { records } from '../op-records.ts'
import { table } from '../op-table.ts'

const openAt = (firstAddress?: number): Device => new Device(openCpu({ sharedMemory: false, instructions: 'relaxed', ...(firstAddress !== undefined && { firstAddress }) }))
/** The end of what is given out. */
const limit = 2 ** 32 - 65_536

/** Runs `program` on a device whose blocks begin at `firstAddress`. */
async function startingAt<T>(firstAddress: number | undefined, program: (device: Device) => Promise<T>): Promise<T> {
  const device = openAt(firstAddress)
  try {
    return await program(device)
  } finally {
    await device.close()
  }
}

/** What `program` gives where its memory is the last there is, as little as it needs. */
async function atTheEnd<T>(program: (device: Device) => Promise<T>): Promise<T> {
  for (let bytes = 2 ** 14; ; bytes *= 1.4) {
    try {
      return await startingAt(limit - 256 * Math.ceil(bytes / 256), program)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('out of memory'))) throw error
    }
  }
}

const rows: readonly (readonly [string, { readonly calls: fc.Arbitrary<Call>; readonly smooth?: fc.Arbitrary<Call> | null }])[] = Object.entries(table)
const ops = new Map<string, AnyOp>(Object.entries(records))

test.each(rows)('%s', async (name, { calls, smooth = calls }) => {
  const op = ops.get(name)
  if (op === undefined) throw new Error(`${name} is in the table but is no record`)
  const samples = [...fc.sample(calls, { seed: 5, numRuns: 2 }).map((call) => ({ call, gradient: false })), ...(smooth === null ? [] : fc.sample(smooth, { seed: 6, numRuns: 1 }).map((call) => ({ call, gradient: true })))]
  for (const [i, { call, gradient }] of samples.entries()) {
    const bits = async (device: Device): Promise<unknown> => bitsOn(op, call, device, gradient)
    const expected = await startingAt(undefined, bits)
    for (const back of [2000, 60_000].map((most) => 256 * Math.ceil((most * uniform(8, i + most)) / 256))) {
      expect(await startingAt(2 ** 31 - back, bits), `${back} bytes before 2 GiB`).toEqual(expected)
    }
    expect(await atTheEnd(bits), 'up to 4 GiB').toEqual(expected)
  }
}, 120_000)

const ramp = (shape: readonly number[], seed: number, device: Device) => tensor(Float32Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, i) => Math.sin(12.9898 * i + seed)), shape, { device })

const large: Readonly<Record<string, (device: Device) => Promise<unknown>>> = {
  'a transposition of five rows': async (device) => transpose(ramp([5, 40_001], 1, device), 0, 1).data(),
  'gradients of a convolution of many channels': async (device) => gradients(device, [4, 32, 8, 8], 33),
  'gradients of a convolution of few channels': async (device) => gradients(device, [8, 4, 32, 32], 16),
  'gradients of a convolution with strides': async (device) => gradients(device, [2, 20, 19, 19], 40, 2),
  'a concatenation': async (device) => concat([ramp([70, 33], 1, device), ramp([70, 41], 2, device)], 1).data(),
}

async function gradients(device: Device, shape: readonly number[], out: number, stride = 1): Promise<unknown> {
  const [x, w] = [ramp(shape, 1, device), ramp([out, shape[1] ?? 1, 3, 3], 2, device)]
  const y = conv2d(x, w, { padding: 1, stride })
  const [dx, dw] = grad(sum(mul(y, reshape(ramp([y.size], 3, device), y.shape))), [x, w])
  await realize(dx, dw)
  return [await dx.data(), await dw.data()]
}

/** How many bytes before 2 GiB memory begins: what goes wrong there may need a list of a few kilobytes to lie across. */
const places: readonly number[] = [...range(2048, 2 ** 21, 195_328), ...range(196_608, 278_528, 8192), ...range(778_240, 827_392, 8192)]

function range(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step)
}

test.each(Object.entries(large))('%s, at many places', async (_, program) => {
  // Twice, as scratch memory is dirty then.
  const twice = async (device: Device): Promise<unknown> => [await program(device), await program(device)]
  const expected = await startingAt(undefined, twice)
  for (const back of places) expect(await startingAt(2 ** 31 - back, twice), `${back} bytes before 2 GiB`).toEqual(expected)
  expect(await atTheEnd(twice), 'up to 4 GiB').toEqual(expected)
}, 120_000)
