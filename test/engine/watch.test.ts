/** Looking into runs: the trap for NaN on the reference device, and what devices say that cannot look. */
import { afterAll, expect, test } from 'vitest'
import { detectAnomaly, device, explain, linear, ones, profile } from '../../engine/index.ts'
import { describeAnomalies } from '../anomaly-suite.ts'

const cpu = await device('cpu', { threads: 1 })
const reference = await device('reference')
afterAll(async () => Promise.all([cpu.close(), reference.close()]))

describeAnomalies(reference)

test('what an op is made of has the path of its module', async () => {
  const [plan] = await explain(reference.scope('head', () => linear(ones([2, 3], { device: reference }), ones([4, 3], { device: reference }))))
  expect(plan?.text).toMatch(/ = matmul\(.* at head\n/)
})

test('devices that cannot', async () => {
  await expect(profile(cpu, () => undefined)).rejects.toThrow('profile: the cpu device cannot tell the launches of a run apart; use webgpu')
  await expect(detectAnomaly(cpu, () => undefined)).rejects.toThrow('detectAnomaly: the cpu device cannot tell the launches of a run apart; use webgpu or reference')
  await expect(profile(reference, () => undefined)).rejects.toThrow('reference: loops that are there to be exact are not timed; profile on webgpu')
  expect(reference.watch).toBeUndefined()
})
