/**
 * Two processes that train on the same cores: how much longer a step takes than alone. About twice is fair; threads that
 * spin or wait for one another while the other process computes make it more.
 * Run: node bench/two-processes.bench.ts [threads] [steps]
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import process from 'node:process'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { device as openDevice } from '../engine/index.ts'
import { call } from './subject.ts'
import { trainStepSubject, unets } from './unets.ts'

const [threads = availableParallelism(), steps = 60] = process.argv.slice(2, 4).map(Number)

const median = (times: readonly number[]): number => times.toSorted((x, y) => x - y)[times.length >> 1] ?? NaN

/** The median time of a step, in milliseconds. Steps go on until told to end, so that the other process is never alone. */
async function train(): Promise<void> {
  await using device = await openDevice('cpu', { threads })
  const [small] = unets
  if (small === undefined) throw new RangeError('a model to train')
  const { record } = await trainStepSubject(small).prepare(device)
  for (let i = 0; i < steps / 3; i++) await call(record)
  process.send?.('warm')
  await once(process, 'message')
  const times: number[] = []
  let ended = false
  process.once('message', () => (ended = true))
  while (!ended) {
    const start = performance.now()
    await call(record)
    times.push(performance.now() - start)
    if (times.length === steps) process.send?.('enough')
  }
  console.log(median(times.slice(0, steps)))
  process.disconnect()
}

/** Median times of a step in so many processes at once. */
async function together(count: number): Promise<readonly number[]> {
  const file = fileURLToPath(import.meta.url)
  const children = Array.from({ length: count }, () => spawn(process.execPath, [file, String(threads), String(steps), 'child'], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] }))
  const printed = children.map(async ({ stdout }) => (stdout === null ? '' : text(stdout)))
  const all = async (): Promise<unknown> => Promise.all(children.map(async (child) => once(child, 'message')))
  await all()
  const enough = all()
  for (const child of children) child.send('begin')
  await enough
  for (const child of children) child.send('end')
  return (await Promise.all(printed)).map(Number)
}

if (process.argv[4] === 'child') await train()
else {
  const [alone = NaN] = await together(1)
  const both = await together(2)
  const [least, most] = [Math.min(...both), Math.max(...both)].map((time) => (time / alone).toFixed(2))
  console.log(`${threads} threads, median step of ${steps}: alone ${alone.toFixed(1)} ms; two processes at once ${both.map((t) => t.toFixed(1)).join(' and ')} ms, ${least} and ${most} times`)
}
