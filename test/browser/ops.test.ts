/**
 * The op table on the CPU device in a page: values, kernels, gradients and plans, as in Node. Isolated pages run it on
 * worker threads over shared memory, others on the page's own thread. Finite differences need no page: Node has them.
 */
import { afterAll, expect, inject, test } from 'vitest'
import { device } from '../../engine/device/open.ts'
import { describeOps } from '../op-suite.ts'

const isolated = inject('isolated')
const cpu = await device('cpu', { makeDefault: false })
afterAll(async () => cpu.close())

test('the device says where it runs', () => {
  expect(cpu.description).toMatch(isolated ? /on \d+ worker threads?$/ : /on the calling thread \(no shared memory\)$/)
})

describeOps(cpu)
