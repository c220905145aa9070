/** Looking into runs: the trap for NaN on the reference device, and what devices say that cannot look. */
import { afterAll, expect, test } from 'vitest'
import { detectAnomaly, device, profile } from '../../engine/index.ts'
import { describeAnomalies } from '../anomaly-suite.ts'

const cpu = await device('cpu', { threads: 1 })
const reference = await device('reference')
afterAll(async () => Promise.all([cpu.close(), reference.close()]))

describeAnomalies(reference)

test('devices that cannot', async () => {
  await expect(profile(cpu, () => undefined)).rejects.toThrow('profile: the cpu device cannot tell the launches of a run apart; use webgpu')
  await expect(detectAnomaly(cpu, () => undefined)).rejects.toThrow('detectAnomaly: the cpu device cannot tell the launches of a run apart; use webgpu or reference')
  await expect(profile(reference, () => undefined)).rejects.toThrow('reference: loops that are there to be exact are not timed; profile on webgpu')
  expect(reference.watch).toBeUndefined()
})
