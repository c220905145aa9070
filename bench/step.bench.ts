/**
 * A training step of the small UNet of the training oracles (701,345 parameters, 8x8 images, batch 32): the time
 * JavaScript takes on the calling thread to launch it, and in all, and the time of the whole step.
 * Run: node bench/step.bench.ts [cpu|reference] [threads] [untried], the last without trials of 256-bit code
 */
import { performance } from 'node:perf_hooks'
import { device as openDevice } from '../engine/device/open.ts'
import { tensor } from '../engine/create.ts'
import { valueAndGrad } from '../engine/grad.ts'
import { mul, sub } from '../engine/ops/elementwise.ts'
import { mean } from '../engine/ops/statistics.ts'
import { RandomGenerator } from '../engine/random.ts'
import { realize } from '../engine/realize.ts'
import { UNet2D } from '../diffusion/unet.ts'
import { namedParameters } from '../nn/module.ts'
import { EMA } from '../nn/ema.ts'
import { AdamW } from '../nn/optim/adam.ts'

const [kind = 'cpu', threads = '2', trials] = process.argv.slice(2)
const device = await openDevice(kind === 'reference' ? 'reference' : 'cpu', { threads: Number(threads), trials: trials !== 'untried' })
const model = new UNet2D(
  {
    sample_size: 8, in_channels: 1, out_channels: 1, block_out_channels: [32, 64], layers_per_block: 1, norm_num_groups: 8, attention_head_dim: 8,
    down_block_types: ['DownBlock2D', 'AttnDownBlock2D'], up_block_types: ['AttnUpBlock2D', 'UpBlock2D'],
  },
  { device, generator: new RandomGenerator(1) },
)
const parameters = namedParameters(model)
const optimizer = new AdamW(parameters, { lr: 3e-4, maxNorm: 1, ema: new EMA(parameters, { decay: 0.99 }) })
const batch = 32
const noise = Float32Array.from({ length: batch * 64 }, (_, i) => Math.sin(i))

/** Not an async function: what it made is free to be collected while the step runs. */
function begin(k: number): Promise<void> {
  const x = tensor(noise, [batch, 1, 8, 8])
  const t = tensor(Float32Array.from({ length: batch }, (_, i) => (389 * i + 557 * k) % 1000))
  const error = sub(model.call(x, t), x)
  const { value, grads } = valueAndGrad(mean(mul(error, error)), parameters)
  return realize(value, optimizer.update(grads))
}

interface Times {
  /** Until the run was posted to the threads: build, differentiate, match the plan, launch. */
  readonly launch: number
  /** All that the calling thread did in the step, taking the results and collecting garbage too. */
  readonly busy: number
  readonly whole: number
}

async function step(k: number): Promise<Times> {
  const start = performance.now()
  const before = performance.eventLoopUtilization()
  const done = begin(k)
  await new Promise((resolve) => setImmediate(resolve)) // The queue's turn comes before.
  const launch = performance.now() - start
  await done
  return { launch, busy: performance.eventLoopUtilization(before).active, whole: performance.now() - start }
}

function quantile(list: readonly number[], share: number): string {
  return (list.toSorted((x, y) => x - y)[Math.floor(share * (list.length - 1))] ?? NaN).toFixed(2)
}

const first = await step(0)
for (let k = 1; k < 300; k++) await step(k) // V8 optimises the host code for some hundred steps.
device.resetCounters()
const times: Times[] = []
for (let k = 300; k < 400; k++) times.push(await step(k))
console.log(device.description)
console.log(`first step ${first.whole.toFixed(0)} ms (compiles the plan); then, in ms, least, median and 90th percentile of ${times.length}:`)
for (const [name, list] of Object.entries({ launch: times.map((t) => t.launch), busy: times.map((t) => t.busy), whole: times.map((t) => t.whole) })) {
  console.log(`  ${name.padEnd(6)} ${[0, 0.5, 0.9].map((share) => quantile(list, share).padStart(8)).join('')}`)
}
console.log(JSON.stringify({ ...device.counters, launchesPerStep: device.counters.launches / device.counters.submits }))
await device.close()
