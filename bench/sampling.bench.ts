/**
 * What a step of sampling costs the calling thread besides the network: processor time of that thread for a run of the digits' UNet by each sampler, and for
 * the same network with nothing around it, realized question by question. Run: node bench/sampling.bench.ts [device]
 */
import { expand, normal, realize, scalar } from '../engine/index.ts'
import { device as open } from '../engine/device/open.ts'
import type { DeviceKind } from '../engine/index.ts'
import { UNet2D, ancestralEuler, classifierFree, ddim, denoiserOf, discretePath, dpmSolver2M, dpmSolver3M, dpmSolverSde, epsPrediction, heun, levels, lms, saSolver, sample, unipc } from '../diffusion/index.ts'
import type { Denoiser, Guidance, Sampler } from '../diffusion/index.ts'
import { unets } from './unets.ts'

const kind = (process.argv[2] ?? 'cpu') as DeviceKind
const device = await open(kind)
const [digits] = unets
if (digits === undefined) throw new Error('no UNet')
const model = new UNet2D(digits.config, { device })
const [shape, seeds, steps, rounds, warm] = [[1, 8, 8], Array.from({ length: 16 }, (_, i) => i), 50, 12, 4]
const path = discretePath()
const denoise: Denoiser = denoiserOf((x, t) => model.forward(x, t), epsPrediction())

/** Milliseconds of the calling thread: the least of several runs, since what else the machine does only adds; the first ones left out. */
async function thread(act: () => Promise<void>): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < rounds + warm; i++) {
    const before = process.threadCpuUsage()
    await act()
    const { user, system } = process.threadCpuUsage(before)
    if (i >= warm) times.push((user + system) / 1000)
  }
  return Math.min(...times)
}

const bare = (): Promise<number> => thread(async () => {
  const x = normal([seeds.length, ...shape], { device })
  await realize(x)
  for (let i = 0; i < steps; i++) {
    const y = model.forward(x, expand(scalar(i, { device }), [seeds.length]))
    await realize(y)
    y.dispose()
  }
  x.dispose()
})
const alone: number[] = []
for (let i = 0; i < 3; i++) alone.push(await bare())
console.log(`${device.info.description}, ${seeds.length} images of ${shape.join('×')}, ${steps} steps, the least of ${rounds} runs`)
console.log('| sampler | questions a step | submits a step | ms a step |\n|---|---:|---:|---:|')
const samplers: readonly (readonly [string, Sampler, number, Guidance?])[] = [
  ['ddim', ddim(), 1], ['ancestralEuler', ancestralEuler(), 1], ['dpmSolver2M', dpmSolver2M(), 1], ['dpmSolver3M, η = 1', dpmSolver3M({ eta: 1 }), 1], ['unipc, order 3', unipc({ order: 3 }), 1], ['saSolver', saSolver(), 1], ['lms', lms(), 1], ['heun', heun(), 2], ['dpmSolverSde', dpmSolverSde(), 2],
  ['ddim, guidance of scale 1', ddim(), 1, classifierFree({ scale: 1, negative: {} })],
]
for (const [name, sampler, questions, guidance] of samplers) {
  device.resetCounters()
  let runs = 0
  const time = await thread(async () => {
    runs++
    const x = await sample(denoise, { path, levels: levels(path, steps), sampler, shape, seeds, device, ...(guidance && { guidance }) })
    x.dispose()
  })
  console.log(`| ${name} | ${questions} | ${device.counters.submits / steps / runs} | ${(time / steps).toFixed(2)} |`)
  alone.push(await bare())
}
console.log(`| the network alone | 1 | 1 | ${(Math.min(...alone) / steps).toFixed(2)} |`)
await device.close()
