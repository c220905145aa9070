/** The op table's checks for one device, as suites of Node and of pages run them. Finite differences are for the reference device alone. */
import * as fc from 'fast-check'
import { describe, test } from 'vitest'
import type { Device } from '../engine/device/device.ts'
import type { AnyOp } from '../engine/op.ts'
import type { Call } from './op-calls.ts'
import { checkHalfGradient, checkHalves } from './op-halves.ts'
import { checkDevice, checkDeviceGradient, checkKernel, checkPlans } from './op-checks.ts'
import { records } from './op-records.ts'
import { table } from './op-table.ts'

const ops = new Map<string, AnyOp>(Object.entries(records))
const rows: readonly (readonly [string, { readonly calls: fc.Arbitrary<Call>; readonly smooth?: fc.Arbitrary<Call> | null }])[] = Object.entries(table)

async function forAll(calls: fc.Arbitrary<Call>, numRuns: number, check: (call: Call) => Promise<unknown>): Promise<void> {
  await fc.assert(fc.asyncProperty(calls, async (call) => void (await check(call))), { seed: 20260101, numRuns })
}

export interface OpRuns {
  /** Cases of each check. */
  readonly values: number
  readonly kernels: number
  readonly gradients: number
  /** Which ops; default: all. */
  readonly only?: readonly string[]
}

export function describeOps(device: Device, { only, ...runs }: OpRuns = { values: 12, kernels: 6, gradients: 8 }): void {
  describe.each(rows.filter(([name]) => only?.includes(name) ?? true))('%s', (name, { calls, smooth = calls }) => {
    const op = ops.get(name)
    if (op === undefined) throw new Error(`${name} is in the table but is no record`)

    test('values are the reference’s', async () => forAll(calls, runs.values, async (call) => checkDevice(op, call, device)))

    test('numbers and inputs change no plan', async () => forAll(smooth ?? calls, 1, async (call) => checkPlans(op, call, device)))

    if (op.kind === 'fused') test('the kernel computes its decomposition', async () => forAll(calls, runs.kernels, async (call) => checkKernel(op, call, device)))

    if (smooth === null) return

    test('the gradient is the reference’s', async () => forAll(smooth, runs.gradients, async (call) => checkDeviceGradient(op, call, device)))
  })
}

/** The same in f16, for devices that have it; `without` some ops, by their names. */
export function describeHalves(device: Device, { without, ...runs }: { readonly values: number; readonly gradients: number; readonly without?: RegExp }): void {
  describe.each(rows.filter(([name]) => without?.test(name) !== true))('%s in f16', (name, { calls, smooth = calls }) => {
    const op = ops.get(name)
    if (op === undefined) throw new Error(`${name} is in the table but is no record`)

    test('values are the reference’s', async () => forAll(calls, runs.values, async (call) => checkHalves(op, call, device)))

    if (smooth === null || runs.gradients === 0) return

    test('the gradient is the reference’s', async () => forAll(smooth, runs.gradients, async (call) => checkHalfGradient(op, call, device)))
  })
}
