/**
 * Everything that has to hold before a change goes in. Runs all steps even if one fails, then says which failed and,
 * on the last line, how many tests passed, failed and were skipped.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { tally } from './tally.ts'

const reports = mkdtempSync(path.join(tmpdir(), 'langevin-check-'))
const report = path.join(reports, 'tests.json')

const steps: readonly (readonly [name: string, command: string])[] = [
  ['lint', 'npm run --silent lint'],
  ['types', 'npm run --silent types'],
  ['layers and other rules', 'npm run --silent lint:rules'],
  ['build', 'npm run --silent build'],
  ['package', 'npm run --silent lint:package'],
  ['dead code', 'npm run --silent lint:dead'],
  ['sizes', 'npm run --silent sizes'],
  ['tests', `npm test -- --reporter=default --reporter=json --outputFile.json=${report}`],
]

const failed: string[] = []
for (const [name, command] of steps) {
  console.log(`\n== ${name}: ${command}`)
  const start = performance.now()
  const { status } = spawnSync(command, { shell: true, stdio: 'inherit' })
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(status === 0 ? `-- ok, ${seconds} s` : `-- FAILED with status ${status}, ${seconds} s`)
  if (status !== 0) failed.push(name)
}

const { passed, failed: failedTests, skipped } = tally(report)
rmSync(reports, { recursive: true })
console.log(failed.length === 0 ? '\nall checks passed' : `\nFAILED: ${failed.join(', ')}`)
console.log(`${passed} passed, ${failedTests} failed, ${skipped} skipped`)
process.exitCode = failed.length === 0 ? 0 : 1
