/** Which variables were assigned and not yet computed: a set in the order of assignment, whatever leaves it. */
import { afterAll, expect, test } from 'vitest'
import fc from 'fast-check'
import { device as openDevice, tensor, variable } from '../../engine/index.ts'
import { MovedVariables } from '../../engine/moved.ts'

const device = await openDevice('reference', { makeDefault: false })
afterAll(async () => device.close())

test('is what a Set of them would be', () => {
  const cells = Array.from({ length: 200 }, (_, i) => variable(tensor([i], null, { device })))
  device.moved.clear()
  expect(cells.some((cell) => device.moved.has(cell))).toBe(false)
  fc.assert(fc.property(fc.array(fc.tuple(fc.constantFrom('add', 'delete'), fc.nat(cells.length - 1)), { maxLength: 2000, size: 'max' }), (calls) => {
    const [moved, expected] = [new MovedVariables(), new Set<unknown>()]
    for (const [call, i] of calls) {
      const cell = cells[i]
      if (cell === undefined) continue
      moved[call](cell)
      expected[call](cell)
      expect([moved.size, moved.has(cell)]).toEqual([expected.size, expected.has(cell)])
    }
    expect(moved.list()).toEqual([...expected])
    moved.clear()
    expect([moved.size, moved.list()]).toEqual([0, []])
  }), { numRuns: 50 })
})
