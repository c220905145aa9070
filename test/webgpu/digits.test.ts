/**
 * The digits run, with a smaller network: on this device it takes the course that it takes on the CPU, and goes on in another
 * process as if it had never stopped.
 */
import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadDigits } from '../../cli/digits.ts'
import { defaults, startRun } from '../../cli/settings.ts'
import type { Settings } from '../../cli/settings.ts'
import { decodeTraining } from '../../diffusion/checkpoint.ts'
import type { TrainingCheckpoint } from '../../diffusion/checkpoint.ts'
import { device as open } from '../../engine/index.ts'
import type { Device } from '../../engine/index.ts'
import { Scratch, checkpointOf, langevin } from '../cli/langevin.ts'

const images = loadDigits()
const steps = 8
const settings: Settings = {
  ...defaults, digest: images.digest, steps, batch: 8, sampling: 1,
  model: { ...defaults.model, block_out_channels: [16], norm_num_groups: 4, down_block_types: ['AttnDownBlock2D'], up_block_types: ['AttnUpBlock2D'] },
}
const notes = { settings: JSON.stringify(settings) }

const gpu = await open('webgpu', { makeDefault: false })
afterAll(async () => gpu.close())

/** The checkpoints after half of the steps and after all. */
async function run(on: Device): Promise<Uint8Array<ArrayBuffer>[]> {
  const { trainer } = startRun(settings, images, on)
  const saved: Uint8Array<ArrayBuffer>[] = []
  for (const until of [steps / 2, steps]) {
    for await (const { step } of trainer.steps(until)) expect(step).toBeLessThanOrEqual(until)
    saved.push(await trainer.save(notes))
  }
  return saved
}

let [half, whole] = [new Uint8Array(), new Uint8Array()]
// Compiles what a step has; the driver may remember it.
beforeAll(async () => {
  [half = half, whole = whole] = await run(gpu)
}, 600_000)

test('saved, and taken up by another process, it is bit for bit the run that never stopped', { timeout: 600_000 }, async () => {
  using scratch = new Scratch()
  writeFileSync(scratch.path('checkpoint.safetensors'), half)
  const { code, stderr } = await langevin(`train --resume ${scratch.folder} --device webgpu`)
  expect(code, `it says ${stderr}`).toBe(0)
  const { bytes, checkpoint } = checkpointOf(scratch.folder)
  expect(checkpoint.step).toBe(steps)
  expect(Buffer.compare(bytes, whole)).toBe(0)
})

/** ‖a − b‖ / ‖b‖ over the tensors whose names begin so. */
function distance(a: TrainingCheckpoint, b: TrainingCheckpoint, prefix: string): number {
  let [difference, total] = [0, 0]
  for (const [name, { data }] of b.variables) {
    if (!name.startsWith(prefix)) continue
    const other = a.variables.get(name)?.data
    for (const [i, x] of data.entries()) {
      difference += ((other?.[i] ?? NaN) - x) ** 2
      total += x ** 2
    }
  }
  return Math.sqrt(difference / total)
}

/** The largest relative difference of two series. */
const gap = (a: readonly number[], b: readonly number[]): number => b.reduce((most, x, k) => Math.max(most, Math.abs((a[k] ?? NaN) / x - 1)), 0)

/**
 * Two levels of the CPU add the same products in the same order, and one of them rounds them before: what this makes of the state is
 * the yardstick for another order. A part of one gradient that is off by 10⁻⁴ exceeds it fifty times.
 */
test('it takes the course of the CPU: as far from it as one level of instructions from another', { timeout: 120_000 }, async () => {
  const [cpu, other] = await Promise.all((['simd128', 'relaxed'] as const).map(async (instructions) => {
    await using device = await open('cpu', { instructions, makeDefault: false })
    return decodeTraining((await run(device)).at(-1) ?? new Uint8Array(), instructions)
  }))
  if (cpu === undefined || other === undefined) throw new Error('two levels')
  const got = decodeTraining(whole, 'webgpu')
  expect([got.generator, got.deviceGenerator]).toEqual([cpu.generator, cpu.deviceGenerator])
  for (const prefix of ['model.', 'optimizer.exp_avg.', 'optimizer.exp_avg_sq.', 'ema.average.']) {
    expect(distance(got, cpu, prefix), `the distance of ${prefix}`).toBeLessThan(4 * distance(other, cpu, prefix))
  }
  for (const series of ['loss', 'norm'] as const) {
    expect(got.history[series]).toHaveLength(steps)
    expect(gap(got.history[series], cpu.history[series]), `the gap of ${series}`).toBeLessThan(4 * Math.max(2 ** -23, gap(other.history[series], cpu.history[series])))
  }
})
