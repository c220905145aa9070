/** The oracles on every device of the project. */
import { expectAll } from './devices.ts'
import { describeOracles } from './oracle-suite.ts'

for (const device of await expectAll()) describeOracles(device)
