/**
 * How often blocks of the engine's code run while n outputs are compiled and computed, for each n on the command line, as
 * JSON: counted by V8, exactly, in functions that are compiled once it counts.
 */
import { Session } from 'node:inspector/promises'
import process from 'node:process'
import type { Tensor, TensorLike } from '../../engine/index.ts'

const session = new Session()
session.connect()
await session.post('Profiler.enable')
await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
const { add, concat, device: open, mul, realize, sum, tensor, variable } = await import('../../engine/index.ts')
const device = await open('cpu', { sharedMemory: false })

/** Of n outputs each. */
const graphs: Readonly<Record<string, (n: number) => readonly TensorLike[]>> = {
  'that share nothing but a leaf'(n) {
    const x = variable([1, 2, 3])
    return Array.from({ length: n }, (_, i) => mul(add(x, i), x))
  },
  'each made of the one before'(n) {
    let y: Tensor = tensor([1, 2, 3])
    return Array.from({ length: n }, () => (y = add(mul(y, 0.5), 1)))
  },
  'that are variables, each moved'(n) {
    const x = tensor([1, 2, 3])
    return Array.from({ length: n }, (_, i) => {
      const v = variable([1, 2, i])
      v.assign(add(v, x))
      return v
    })
  },
  'of intermediate values that are stored': (n) => Array.from({ length: n }, (_, i) => {
    const s = sum(tensor([[1, i], [3, 4]]), 1)
    return mul(s, add(sum(concat([s, s], 0)), s))
  }),
}

async function steps(build: () => readonly TensorLike[]): Promise<number> {
  const wanted = build()
  await session.post('Profiler.takePreciseCoverage') // Begins at 0.
  await realize(...wanted)
  const { result } = await session.post('Profiler.takePreciseCoverage')
  return result.filter(({ url }) => url.includes('/engine/')).flatMap(({ functions }) => functions.flatMap(({ ranges }) => ranges)).reduce((all, { count }) => all + count, 0)
}

const counts: Record<string, number[]> = {}
for (const [name, build] of Object.entries(graphs)) {
  await steps(() => build(20)) // What runs once.
  const list: number[] = []
  for (const n of process.argv.slice(2).map(Number)) list.push(await steps(() => build(n)))
  counts[name] = list
}
await device.close()
console.log(JSON.stringify(counts))
