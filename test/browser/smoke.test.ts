/** The page is what its vitest project promises: isolated or not, with what follows from that. */
import { expect, inject, test } from 'vitest'

const isolated = inject('isolated')

test(`the page is ${isolated ? '' : 'not '}cross-origin isolated`, () => {
  expect(globalThis.crossOriginIsolated).toBe(isolated)
  expect(typeof SharedArrayBuffer === 'function').toBe(isolated)
})

test('the page has WebGPU', () => {
  expect(navigator.gpu).toBeDefined()
})
