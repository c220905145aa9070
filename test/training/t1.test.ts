/** T1 on every device of the project. */
import { afterAll, expect, test } from 'vitest'
import { closeAll, openAll } from '../devices.ts'
import { testT1 } from './t1-suite.ts'
import { hash, normalAt } from './trajectory.ts'

test('the formulas of the oracle', () => {
  expect([hash(3, 5), normalAt(1000, 0), normalAt(1000, 1)]).toEqual([3048810549, -1.1747390253511854, -1.6162766067724632])
})

const opened = await openAll()
afterAll(async () => closeAll(opened))

for (const { kind, device } of opened) {
  if (device === undefined) test.skip(`on ${kind}`)
  else testT1(device, kind === 'reference' ? 25 : undefined)
}
