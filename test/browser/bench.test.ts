/** The benchmark runs in a page, with threads or without. */
import { expect, inject, test } from 'vitest'
import { run } from '../../bench/run.ts'
import { convSubject } from '../../bench/subjects.ts'
import { cpuTarget } from '../../bench/target.ts'

test('a small subject', { timeout: 120_000 }, async () => {
  const shown: string[] = []
  const subject = convSubject({ batch: 1, channels: 2, size: 4, out: 3 }, true)
  const { peaks, measurements, facts } = await run({ subjects: [subject], target: cpuTarget({ threads: 2, experimental: true }), seconds: 0.01, facts: [], show: (text) => shown.push(text) })
  expect(facts[0]?.[1]).toMatch(inject('isolated') ? /on 2 worker threads$/ : /on the calling thread/)
  for (const { flops, bandwidth } of peaks) expect([flops > 1e9, bandwidth > 1e8]).toEqual([true, true])
  expect(measurements.map(({ name, ours }) => [name, ours.calls >= 5])).toEqual([[subject.name, true]])
  expect(shown.at(-1)).toContain(subject.name)
})
