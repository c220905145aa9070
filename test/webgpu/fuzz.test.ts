/**
 * Random programs on the WebGPU device: the reference's values, and what is realised early has the values of what is realised
 * late; but for the sign of zeros, which WGSL leaves open. `SEED=…` tries other programs, `MINUTES=…` tries them for so long.
 */
import * as fc from 'fast-check'
import { afterAll, expect, inject, test } from 'vitest'
import { device as open } from '../../engine/index.ts'
import { difference, programs, run } from '../engine/programs.ts'
import type { Outcome, Program } from '../engine/programs.ts'

const minutes = Number(process.env['MINUTES'] ?? 0)
const seed = Number(process.env['SEED'] ?? 20260102)

const [reference, gpu] = await Promise.all((['reference', 'webgpu'] as const).map(async (kind) => open(kind, { makeDefault: false })))
afterAll(async () => Promise.all([reference, gpu].map(async (d) => d?.close())))

async function on(device: typeof gpu, program: Program, early?: Outcome): Promise<Outcome> {
  if (device === undefined) throw new Error('both devices open')
  const { results, fresh } = await run(program, device, early)
  return { fresh, results: results.map((values) => values.map((x) => (x === 0 ? 0 : x))) }
}

async function agree(program: Program): Promise<void> {
  const expected = await on(reference, program)
  const got = await on(gpu, program)
  expect(difference(got, expected, program.exact), 'against the reference').toBeUndefined()
  // Else what a step reads of a variable is another tensor once it is realised.
  if (program.ready) expect(difference(await on(gpu, program, got), program.exact ? got : expected, program.exact), 'realised early').toBeUndefined()
}

const limits = minutes > 0 ? { numRuns: 1_000_000, interruptAfterTimeLimit: minutes * 60_000 } : { numRuns: inject('thorough') ? 100 : 4 }

test('random programs give the reference’s values', { timeout: (minutes + 30) * 60_000 }, async () => {
  await fc.assert(fc.asyncProperty(programs, agree), { seed, ...limits })
})

test.skipIf(gpu?.supports('f16') !== true)('and with f16 on the way', { timeout: (minutes + 30) * 60_000 }, async () => {
  await fc.assert(fc.asyncProperty(programs, async (program) => agree({ ...program, half: 'f16' })), { seed, ...limits })
})
