/** T1 on every device of the project. */
import { expect, test } from 'vitest'
import { expectAll } from '../devices.ts'
import { testT1 } from './t1-suite.ts'
import { hash, normalAt } from './trajectory.ts'

test('the formulas of the oracle', () => {
  expect([hash(3, 5), normalAt(1000, 0), normalAt(1000, 1)]).toEqual([3048810549, -1.1747390253511854, -1.6162766067724632])
})

for (const device of await expectAll()) testT1(device, device.name === 'reference' ? 25 : undefined)
