/**
 * The op table's checks, for every op and on every device: values against the float64 reference, kernels against
 * decompositions, gradients against finite differences and against each other, and plans that numbers do not change.
 * `SEED=…` tries other cases than the usual.
 */
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import * as fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { fusedRules } from '../engine/device/rules/fused.ts'
import type { AnyOp } from '../engine/op.ts'
import { closeAll, onEach, openAll } from './devices.ts'
import { root } from './blocks.ts'
import type { Call } from './op-calls.ts'
import { checkDevice, checkDeviceGradient, checkDifferences, checkKernel, checkPlans, checkRule, checkShapeRule } from './op-checks.ts'
import { records } from './op-records.ts'
import { table } from './op-table.ts'

const devices = await openAll()
afterAll(async () => closeAll(devices))

const seed = Number(process.env['SEED'] ?? 20260101)

async function forAll(calls: fc.Arbitrary<Call>, numRuns: number, check: (call: Call) => Promise<unknown>): Promise<void> {
  await fc.assert(fc.asyncProperty(calls, async (call) => void (await check(call))), { seed, numRuns })
}

const rows: readonly (readonly [string, { readonly calls: fc.Arbitrary<Call>; readonly smooth?: fc.Arbitrary<Call> | null }])[] = Object.entries(table)
const ops = new Map<string, AnyOp>(Object.entries(records).filter(([name]) => Object.hasOwn(table, name)))

test('every op record of the engine is exported, and in the table', () => {
  const sources = globSync('engine/**/*.ts', { cwd: root }).map((file) => readFileSync(path.join(root, file), 'utf8'))
  const made = sources.flatMap((text) => [...text.matchAll(/^(?:export )?const (\w+Op)\b[^=\n]*=/gm)].map((match) => match[1]))
  expect(made.filter((name) => name !== undefined && !Object.hasOwn(table, name))).toEqual([])
  expect(made.length).toBe(rows.length)
})

test('every rule of a kernel is of a fused op', () => {
  const fused = new Set([...ops.values()].filter(({ kind }) => kind === 'fused').map(({ name }) => name))
  expect(Object.keys(fusedRules).filter((name) => !fused.has(name))).toEqual([])
})

describe.each(rows)('%s', (name, { calls, smooth = calls }) => {
  const op = ops.get(name)
  if (op === undefined) throw new Error(`${name} is in the table but is no record`)

  onEach(devices, 'the shape rule tells the result', async (device) => forAll(calls, 3, async (call) => checkShapeRule(op, call, device)))

  onEach(devices.filter(({ kind }) => kind !== 'reference'), 'values are the reference’s', async (device) => forAll(calls, 12, async (call) => checkDevice(op, call, device)))

  onEach(devices, 'numbers and inputs change no plan', async (device) => forAll(smooth ?? calls, 1, async (call) => checkPlans(op, call, device)))

  if (op.kind === 'fused') {
    onEach(devices.filter(({ kind }) => kind !== 'reference'), 'the kernel computes its decomposition', async (device) => forAll(calls, 6, async (call) => checkKernel(op, call, device)))
  }

  if (smooth === null) return

  test('the gradient is that of finite differences', async () => forAll(smooth, 12, async (call) => checkDifferences(op, call, 1)))

  test('the gradient of the gradient is that of finite differences', async () => forAll(smooth, 4, async (call) => checkDifferences(op, call, 2)))

  if (op.kind === 'fused' && (op.vjp ?? op.vjpMany) !== undefined) {
    test('the gradient rule is the gradient of the decomposition', async () => forAll(smooth, 8, async (call) => checkRule(op, call)))
  }

  onEach(devices.filter(({ kind }) => kind !== 'reference'), 'the gradient is the reference’s', async (device) => forAll(smooth, 8, async (call) => checkDeviceGradient(op, call, device)))
})
