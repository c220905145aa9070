/** A page's WebGPU device draws what all devices draw. */
import { afterAll } from 'vitest'
import { device } from '../../engine/device/open.ts'
import { describeDraws, describeManyDraws } from '../draw-suite.ts'

const gpu = await device('webgpu', { makeDefault: false })
afterAll(async () => gpu.close())

describeDraws('a page’s webgpu', gpu)
describeManyDraws('a page’s webgpu', gpu)
