/**
 * Random programs on the CPU against the reference device. What is promised: one device and one graph give one set of
 * bits, whatever the number of threads, whether memory is shared, and whether code is widened to 256 bits; values realised early are those realised late, but
 * for the rounding of reductions, whose order follows the layout of what they read.
 * `SEED=…` tries other programs, `MINUTES=…` tries them for so long.
 */
import * as fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { device as open } from '../../engine/index.ts'
import type { Device } from '../../engine/index.ts'
import { difference, programs, run } from './programs.ts'
import type { Outcome, Program } from './programs.ts'

const minutes = Number(process.env['MINUTES'] ?? 0)
const seed = Number(process.env['SEED'] ?? 20260102)

const reference = await open('reference', { makeDefault: false })
const [one, two, unshared] = await Promise.all([{ threads: 1 }, { threads: 2 }, { sharedMemory: false, instructions: 'relaxed' } as const].map(async (options) => open('cpu', { ...options, makeDefault: false })))
const devices = [reference, one, two, unshared]
afterAll(async () => Promise.all(devices.map(async (d) => d?.close())))

const on = async (device: Device | undefined, program: Program, early?: Outcome): Promise<Outcome> => {
  if (device === undefined) throw new Error('every device opens')
  return run(program, device, early)
}

async function agree(program: Program): Promise<void> {
  const expected = await on(reference, program)
  const single = await on(one, program)
  expect(difference(single, expected, program.exact), 'against the reference').toBeUndefined()
  expect(difference(await on(two, program), single, true), 'two threads against one').toBeUndefined()
  expect(difference(await on(unshared, program), single, true), 'the calling thread and 128-bit code against a worker and 256-bit code').toBeUndefined()
  // Else what a step reads of a variable is another tensor once it is realised.
  if (program.ready) expect(difference(await on(one, program, single), program.exact ? single : expected, program.exact), 'realised early').toBeUndefined()
}

const limits = minutes > 0 ? { numRuns: 1_000_000, interruptAfterTimeLimit: minutes * 60_000 } : { numRuns: 150, interruptAfterTimeLimit: 30_000 }

test('random programs give the reference’s values, and the same bits on any number of threads', { timeout: (minutes + 2) * 60_000 }, async () => {
  await fc.assert(fc.asyncProperty(programs, agree), { seed, ...limits })
})
