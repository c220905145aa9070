/** Runs in place of the browser tests where there is no Chromium: one skipped test for each file not run. */
import { globSync } from 'node:fs'
import { test } from 'vitest'

for (const file of globSync('test/browser/**/*.test.ts')) test.skip(`${file}: no Chromium`, () => undefined)
