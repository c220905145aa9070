/** 20,000 training steps whose losses are all kept; run by `memory.test.ts` with a young generation of one size. Prints what is held after every 5000. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { device, grad, mul, realize, sub, sum, tensor, variable } from '../../engine/index.ts'
import type { Tensor } from '../../engine/index.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const cpu = await device('cpu')
const w = variable(new Float32Array(32).fill(0.5), { name: 'w' })
await realize(w)
cpu.resetCounters()

const losses: Tensor[] = []
const held: { readonly device: number; readonly objects: number; readonly rest: number }[] = []
for (let k = 0; k < 20_000; k++) {
  const batch = tensor(Float32Array.from({ length: 512 }, (_, i) => Math.sin(i + k)), [16, 32])
  const error = sub(mul(batch, w), batch)
  const loss = sum(mul(error, error))
  w.assign(sub(w, mul(grad(loss, w), 1e-4)))
  await realize(loss)
  losses.push(loss)
  if ((k + 1) % 5000 === 0) {
    collect()
    const { heapUsed, heapTotal, external, rss } = process.memoryUsage()
    // What is resident beside the engine's heap: data, native objects, stacks, code.
    held.push({ device: cpu.bytesHeld, objects: heapUsed + external, rest: rss - heapTotal })
  }
}
const ends = [losses[0], losses.at(-1)]
console.log(JSON.stringify({ held, counters: cpu.counters, losses: await Promise.all(ends.map(async (loss) => loss?.item())) }))
