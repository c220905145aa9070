/** `langevin bench cpu` as a shell runs it: the table, the files, and what goes wrong before anything is measured. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Report } from '../../bench/run.ts'
import { Scratch, langevin } from './langevin.ts'

const slow = { timeout: 120_000 }

test('one subject', slow, async () => {
  using scratch = new Scratch()
  const [json, page] = [scratch.path('a.json'), scratch.path('a.md')]
  const line = 'bench cpu --only matmul_f32_512_aTb --threads 1 --seconds 0.05 --level relaxed --no-experimental'
  const { code, stdout, stderr } = await langevin(`${line} --json ${json} --markdown ${page}`)
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout).toMatch(/^date +\d{4}-\d\d-\d\d$/m)
  expect(stdout).toContain('instructions relaxed: asked for\npeak         1 thread: ')
  expect(stdout).toMatch(/^matmul_f32_512_aTb {3,}[\d.]+ +[\d.]+–[\d.]+ +[\d.]+ GFLOP\/s +\d+ %$/m)
  const report = JSON.parse(readFileSync(json, 'utf8')) as Report & { readonly command: string }
  expect([report.command, report.measurements.map(({ name }) => name)]).toEqual([`langevin ${line}`, ['matmul_f32_512_aTb', 'matmul_f32_512_aTbT']])
  expect(readFileSync(page, 'utf8')).toContain('\n| matmul_f32_512_aTbT | ')
})

test.each([
  ['--only fft', /^langevin: no subject's name contains "fft"; there are matmul_f32_512, [^\n]+\n$/],
  ['--torch --python no-such-python', /^langevin: cannot run no-such-python \(spawn no-such-python ENOENT\); name a Python that has torch with --python, or leave out --torch\n$/],
  ['--torch --python true', /^langevin: true ended without an answer: it did not say why\n$/],
  ['--json no-such-folder/a.json', /^langevin: cannot write no-such-folder\/a\.json: it, or the folder it is in, does not exist; check the path \(ENOENT\)\n$/],
])('bench cpu %s', slow, async (line, message) => {
  const { code, stdout, stderr } = await langevin(`bench cpu ${line}`)
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toMatch(message)
})
