/**
 * The op table on the CPU device in a page: values, kernels, gradients and plans, as in Node. Isolated pages run it on
 * worker threads over shared memory, others on the page's own thread. Finite differences need no page: Node has them.
 */
import * as fc from 'fast-check'
import { afterAll, describe, expect, inject, test } from 'vitest'
import { device } from '../../engine/device/open.ts'
import type { AnyOp } from '../../engine/op.ts'
import type { Call } from '../op-calls.ts'
import { checkDevice, checkDeviceGradient, checkKernel, checkPlans } from '../op-checks.ts'
import { records } from '../op-records.ts'
import { table } from '../op-table.ts'

const isolated = inject('isolated')
const cpu = await device('cpu', { makeDefault: false })
afterAll(async () => cpu.close())

test('the device says where it runs', () => {
  expect(cpu.description).toMatch(isolated ? /on \d+ worker threads?$/ : /on the calling thread \(no shared memory\)$/)
})

async function forAll(calls: fc.Arbitrary<Call>, numRuns: number, check: (call: Call) => Promise<unknown>): Promise<void> {
  await fc.assert(fc.asyncProperty(calls, async (call) => void (await check(call))), { seed: 20260101, numRuns })
}

const ops = new Map<string, AnyOp>(Object.entries(records))
const rows: readonly (readonly [string, { readonly calls: fc.Arbitrary<Call>; readonly smooth?: fc.Arbitrary<Call> | null }])[] = Object.entries(table)

describe.each(rows)('%s', (name, { calls, smooth = calls }) => {
  const op = ops.get(name)
  if (op === undefined) throw new Error(`${name} is in the table but is no record`)

  test('values are the reference’s', async () => forAll(calls, 12, async (call) => checkDevice(op, call, cpu)))

  test('numbers and inputs change no plan', async () => forAll(smooth ?? calls, 1, async (call) => checkPlans(op, call, cpu)))

  if (op.kind === 'fused') test('the kernel computes its decomposition', async () => forAll(calls, 6, async (call) => checkKernel(op, call, cpu)))

  if (smooth === null) return

  test('the gradient is the reference’s', async () => forAll(smooth, 8, async (call) => checkDeviceGradient(op, call, cpu)))
})
