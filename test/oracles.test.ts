/** The oracles on every device of the project. */
import { afterAll, test } from 'vitest'
import { closeAll, openAll } from './devices.ts'
import { describeOracles } from './oracle-suite.ts'

const opened = await openAll()
afterAll(async () => closeAll(opened))

for (const { kind, device } of opened) {
  if (device === undefined) test.skip(`on ${kind}`)
  else describeOracles(device)
}
