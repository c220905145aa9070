/** The data set that comes with the package is the one its description says. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { loadDigits } from '../../cli/digits.ts'

test('1797 images in [-1, 1], of the published bytes', () => {
  const { shape, values, digest } = loadDigits()
  expect([shape, values.length]).toEqual([[1797, 1, 8, 8], 1797 * 64])
  expect([values.reduce((x, y) => Math.min(x, y)), values.reduce((x, y) => Math.max(x, y))]).toEqual([-1, 1])
  const readme = readFileSync(path.resolve(import.meta.dirname, '../../data/digits/README.md'), 'utf8')
  expect(readme).toContain(`images ${digest}`)
})
