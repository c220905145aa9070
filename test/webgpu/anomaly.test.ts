/** The trap for NaN on the WebGPU device. */
import { afterAll } from 'vitest'
import { device, setDefaultDevice } from '../../engine/index.ts'
import { describeAnomalies } from '../anomaly-suite.ts'

const gpu = await device('webgpu')
afterAll(async () => {
  setDefaultDevice(undefined)
  await gpu.close()
})

describeAnomalies(gpu)
