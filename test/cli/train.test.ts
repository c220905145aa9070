/** The main job in processes of its own: what it leaves, how it stops, and that going on is the run that never stopped. */
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { Scratch, checkpointOf, langevin, tiny } from './langevin.ts'
import type { Ended } from './langevin.ts'

const slow = { timeout: 180_000 }

test('a run leaves its checkpoint, pictures, page and log', slow, async () => {
  using scratch = new Scratch()
  const { code, stdout, stderr } = await langevin(`train digits --steps 3 ${tiny} --out ${scratch.folder}`)
  expect([code, stderr]).toEqual([0, ''])
  const run = scratch.path('digits')
  expect(readdirSync(run).sort()).toEqual(['checkpoint.safetensors', 'index.html', 'loss.jsonl', 'process.png', 'samples.png'])
  expect(stdout).toMatch(/step 3\/3 {2}loss \d\.\d{4} {2}\d+ images\/s {2}0:00 left\ntrained 3 steps in 0:\d\d; drawing pictures\n/)

  const { checkpoint } = checkpointOf(run)
  const lines = readFileSync(path.join(run, 'loss.jsonl'), 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line) as { step: number; loss: number })
  expect(lines.map(({ step, loss }) => [step, loss])).toEqual(checkpoint.history.loss.map((loss, i) => [i + 1, loss]))

  const page = readFileSync(path.join(run, 'index.html'), 'utf8')
  expect(page).toContain('<polyline class="mean"')
  expect(page).not.toMatch(/(?:src|href)="(?!data:)/)
  for (const picture of ['samples.png', 'process.png']) expect(page).toContain(readFileSync(path.join(run, picture)).toString('base64'))

  const again = await langevin(`train --steps 1 ${tiny} --out ${scratch.folder}`)
  expect([again.code, existsSync(scratch.path('digits-2', 'samples.png'))]).toEqual([0, true])
  const taken = await langevin(`train --steps 1 ${tiny} --out ${scratch.folder} --name digits`)
  expect([taken.code, taken.stderr]).toEqual([1, `langevin: ${run} exists; go on with it by --resume ${run}, or choose another --name\n`])

  const drawn = await langevin(`sample --run ${run} --count 3 --sampling 2 --seed 4`)
  expect([drawn.code, drawn.stdout]).toEqual([0, expect.stringMatching(/3 samples of step 3: \S+samples-4\.png\n$/)])
})

test.each([['SIGINT', 130], ['SIGTERM', 143]] as const)('%s saves; resumed by a new process on other threads, the run is bit for bit the one that never stopped', slow, async (signal, code) => {
  using scratch = new Scratch()
  const options = `--steps 60 --seed 3 --save-every 1000 ${tiny} --out ${scratch.folder}`
  const whole = langevin(`train ${options} --name whole --threads 2`)
  let sent = false
  const stopped = await langevin(`train ${options} --name parts --threads 1`, {
    watch(stdout, child) {
      if (sent || !stdout.includes('step ')) return
      sent = child.kill(signal)
    },
  })
  const run = scratch.path('parts')
  expect([stopped.code, stopped.stderr]).toEqual([code, ''])
  expect(stopped.stdout).toMatch(new RegExp(`stopped after step \\d+ of 60; everything is saved\\. Go on with: node cli/main.ts train --resume ${run}\n$`))
  expect(checkpointOf(run).checkpoint.step).toBeLessThan(60)
  expect(existsSync(path.join(run, 'samples.png'))).toBe(false)

  const resumed = await langevin(`train --resume ${run} --threads 2`)
  expect([resumed.code, resumed.stderr, (await whole).code]).toEqual([0, '', 0])
  expect(Buffer.compare(checkpointOf(run).bytes, checkpointOf(scratch.path('whole')).bytes)).toBe(0)
  for (const picture of ['samples.png', 'process.png']) expect(readFileSync(path.join(run, picture)).equals(readFileSync(scratch.path('whole', picture)))).toBe(true)
})

test('without anyone to read what it writes, a run saves and ends', slow, async () => {
  using scratch = new Scratch()
  let gone = false
  const { code, stderr } = await langevin(`train --steps 100000 ${tiny} --out ${scratch.folder}`, {
    watch(stdout, child) {
      if (gone || !stdout.includes('step ')) return
      gone = true
      child.stdout?.destroy()
    },
  })
  expect([code, stderr]).toEqual([141, ''])
  expect(checkpointOf(scratch.path('digits')).checkpoint.step).toBeGreaterThan(0)
})

test('a second Ctrl-C quits at once', slow, async () => {
  using scratch = new Scratch()
  let first = 0
  const { code, stdout } = await langevin(`train --steps 50 --batch 1024 --sampling 2 --out ${scratch.folder}`, {
    watch(stdout, child) {
      if (first > 0 || !stdout.includes('step ')) return
      first = performance.now()
      // Twice within a moment is one Ctrl-C that came by two ways; later it is another.
      child.kill('SIGINT')
      setTimeout(() => child.kill('SIGINT'), 50)
      setTimeout(() => child.kill('SIGINT'), 1000)
    },
  })
  expect(code).toBe(130)
  expect(stdout.match(/stopping after this step; Ctrl-C again stops at once/g)).toHaveLength(1)
  expect(stdout).not.toContain('everything is saved')
})

/** The last step that a run has shown. */
const shown = (stdout: string): number => Number([...stdout.matchAll(/step +(\d+)\//g)].at(-1)?.[1] ?? 0)

/** Kills a run, as a power cut would, some milliseconds after it has shown a step beyond that one; returns the step of its checkpoint. */
async function killed(line: string, run: string, beyond: number, after = 0): Promise<number> {
  let sent = false
  const { signal } = await langevin(line, {
    watch(stdout, child) {
      if (sent || shown(stdout) <= beyond) return
      sent = true
      setTimeout(() => child.kill('SIGKILL'), after)
    },
  })
  expect(signal).toBe('SIGKILL')
  return checkpointOf(run).checkpoint.step
}

test('killed while it saves, again and again, the checkpoint is whole', slow, async () => {
  using scratch = new Scratch()
  const step = await killed(`train --steps 100000 ${tiny} --save-every 1 --out ${scratch.folder}`, scratch.path('digits'), 1, 700)
  expect(step).toBeGreaterThan(0)
  const { code } = await langevin(`train --resume ${scratch.path('digits')} --steps ${step + 1} --sampling 2`)
  expect([code, readdirSync(scratch.path('digits')).filter((file) => file.endsWith('.tmp'))]).toEqual([0, []])
})

test('a run keeps the options it began with, unless others are given', slow, async () => {
  using scratch = new Scratch()
  const run = scratch.path('digits')
  const settings = (): unknown => JSON.parse(checkpointOf(run).checkpoint.notes['settings'] ?? '')
  const begun = await killed(`train --steps 100000 --batch 256 --sampling 2 --seed 5 --save-every 2 --out ${scratch.folder}`, run, 2)
  const further = await killed(`train --resume ${run}`, run, begun + 2)
  expect(further).toBeGreaterThan(begun)
  expect(settings()).toMatchObject({ steps: 100000, batch: 256, seed: 5, saveEvery: 2, sampling: 2 })
  const { code } = await langevin(`train --resume ${run} --steps ${further + 1} --save-every 7 --sampling 3`)
  expect([code, settings()]).toEqual([0, expect.objectContaining({ steps: further + 1, saveEvery: 7, sampling: 3 })])
})

test('runs that begin at once each take a folder of their own', slow, async () => {
  using scratch = new Scratch()
  // What a process left that was killed before it saved: it may be taken, and by one only.
  mkdirSync(scratch.path('digits'))
  writeFileSync(scratch.path('digits', 'running'), '')
  const line = (seed: number): string => `train --steps 2 --batch 2 --sampling 1 --seed ${seed} --out ${scratch.folder}`
  const ended = await Promise.all([1, 2, 3].map((seed) => langevin(line(seed))))
  expect(ended.map(({ code, stderr }) => [code, stderr])).toEqual([[0, ''], [0, ''], [0, '']])
  expect(readdirSync(scratch.folder).sort()).toEqual(['digits', 'digits-2', 'digits-3'])
  for (const run of readdirSync(scratch.folder)) expect(readdirSync(scratch.path(run)).sort()).toEqual(['checkpoint.safetensors', 'index.html', 'loss.jsonl', 'process.png', 'samples.png'])
  const seeds = readdirSync(scratch.folder).map((run) => (JSON.parse(checkpointOf(scratch.path(run)).checkpoint.notes['settings'] ?? '') as { seed: number }).seed)
  expect(new Set(seeds)).toEqual(new Set([1, 2, 3]))
})

test('a run that is being trained is not taken up by another process', slow, async () => {
  using scratch = new Scratch()
  const run = scratch.path('digits')
  let others: Promise<Ended[]> | undefined
  const { stdout } = await langevin(`train --steps 100000 ${tiny} --out ${scratch.folder}`, {
    watch(text, child) {
      if (others !== undefined || !text.includes('step ')) return
      others = Promise.all([langevin(`train --resume ${run} --threads 1`), langevin(`train --steps 1 ${tiny} --out ${scratch.folder} --name digits`)])
      void others.then(() => child.kill('SIGINT'))
    },
  })
  expect(stdout).toContain('everything is saved')
  const [resumed, named] = (await others) ?? []
  expect([resumed?.code, resumed?.stderr]).toEqual([1, expect.stringMatching(/^langevin: \S+digits is in use: process \d+ trains there; let it end first, or choose another folder\. If there is no such process any more, remove \S+running\n$/)])
  expect([named?.code, named?.stderr]).toEqual([1, expect.stringContaining(`${run} exists; go on with it by --resume ${run}, or choose another --name`)])
  expect((await langevin(`train --resume ${run} --steps ${checkpointOf(run).checkpoint.step + 1} --threads 1`)).code).toBe(0)
})
