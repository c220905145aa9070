/** The main job in processes of its own: what it leaves, how it stops, and that going on is the run that never stopped. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { Scratch, checkpointOf, langevin, tiny } from './langevin.ts'

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
  const options = `--steps 60 --seed 3 ${tiny} --out ${scratch.folder}`
  const whole = langevin(`train ${options} --name whole --threads 2`)
  let sent = false
  const stopped = await langevin(`train ${options} --name parts --threads 1 --save-every 1000`, {
    watch(stdout, child) {
      if (sent || !stdout.includes('step ')) return
      sent = child.kill(signal)
    },
  })
  const run = scratch.path('parts')
  expect([stopped.code, stopped.stderr]).toEqual([code, ''])
  expect(stopped.stdout).toMatch(new RegExp(`stopped after step \\d+ of 60; everything is saved\\. Go on with: npm start -- --resume ${run}\n$`))
  expect(checkpointOf(run).checkpoint.step).toBeLessThan(60)
  expect(existsSync(path.join(run, 'samples.png'))).toBe(false)

  const resumed = await langevin(`train --resume ${run} --threads 2 --sampling 2`)
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

test('killed while it saves, again and again, the checkpoint is whole', slow, async () => {
  using scratch = new Scratch()
  let killed = false
  const { signal } = await langevin(`train --steps 100000 ${tiny} --save-every 1 --out ${scratch.folder}`, {
    watch(stdout, child) {
      if (killed || !stdout.includes('step ')) return
      killed = true
      setTimeout(() => child.kill('SIGKILL'), 700)
    },
  })
  expect(signal).toBe('SIGKILL')
  const { step } = checkpointOf(scratch.path('digits')).checkpoint
  expect(step).toBeGreaterThan(0)
  const { code } = await langevin(`train --resume ${scratch.path('digits')} --steps ${step + 1} --sampling 2`)
  expect([code, readdirSync(scratch.path('digits')).filter((file) => file.endsWith('.tmp'))]).toEqual([0, []])
})
