/** The same draws on every device, and on the CPU on any number of threads, with any level of instructions. */
import { afterAll, inject, test } from 'vitest'
import type { DeviceOptions } from '../engine/index.ts'
import type { Device } from '../engine/device/device.ts'
import { device } from '../engine/device/open.ts'
import { instructionLevels } from '../engine/device/cpu/instructions.ts'
import { revectorizerMissing } from '../engine/platform.node.ts'
import { describeDraws, describeManyDraws } from './draw-suite.ts'

const missing = revectorizerMissing()
const onCpu: DeviceOptions[] = instructionLevels.flatMap((instructions) => (instructions === 'wide' && missing !== undefined ? [] : [1, 2].map((threads) => ({ instructions, threads }))))

const opened: Device[] = []
afterAll(async () => Promise.all(opened.map(async (one) => one.close())))

for (const kind of inject('devices')) {
  for (const options of kind === 'cpu' ? onCpu : [{}]) {
    const one = await device(kind, { ...options, makeDefault: false })
    opened.push(one)
    const label = `${kind} ${options.instructions ?? ''} ${options.threads ?? ''}`.trim()
    describeDraws(label, one)
    // The reference device is slow, and knows no workgroups.
    if (kind !== 'reference') describeManyDraws(label, one)
  }
}
// Counted as skipped, as every test of 256-bit code is where V8 does not join vectors.
if (missing !== undefined) test.skip(`draws in 256-bit code (${missing})`)
