/**
 * The exact 2-Wasserstein distance of samplers from Gaussian data, by number of questions to the network: the tables of docs/diffusion.md. Run:
 * node bench/wasserstein.bench.ts
 */
import { device as open } from '../engine/device/open.ts'
import {
  ancestralDpm2, ancestralEuler, ddim, ddpm, deis, dpm2, dpmSolver, dpmSolver2M, dpmSolver2S, dpmSolver3M, dpmSolverSde, edmPath, edmStochastic, eulerInTime, flowPath, heun, heunInTime, ipndm, karras, levels, lms, midpoint, plms,
  discretePath, rk4, saSolver, scaledLinearBetas, unipc,
} from '../diffusion/index.ts'
import type { HostLevel, NoisePath, Sampler } from '../diffusion/index.ts'
import { imageLike, outcome, wasserstein } from './gaussian.ts'

const device = await open('reference')
const data = imageLike()
const questions = [5, 10, 20, 50, 100]
const once: Readonly<Record<string, Sampler>> = {
  'ddim, euler': ddim(), 'dpmSolver2M': dpmSolver2M(), 'dpmSolver3M': dpmSolver3M(), 'unipc, order 2': unipc(), 'unipc, order 3': unipc({ order: 3 }), 'deis': deis(), 'ipndm': ipndm(), 'lms': lms(), 'saSolver, τ = 0': saSolver({ tau: 0 }),
  'ddim, η = 1; ancestralEuler': ancestralEuler(), 'ddpm, large variance': ddpm({ variance: 'large' }), 'dpmSolver2M, η = 1': dpmSolver2M({ eta: 1 }), 'dpmSolver3M, η = 1': dpmSolver3M({ eta: 1 }), 'saSolver, τ = 1': saSolver(),
}
const twice: Readonly<Record<string, Sampler>> = {
  'heun': heun(), 'dpm2': dpm2(), 'dpmSolver, order 2': dpmSolver({ order: 2 }), 'dpmSolver2S': dpmSolver2S(), 'edmStochastic, churn 40': edmStochastic({ churn: 40, least: 0.05, most: 50 }), 'ancestralDpm2': ancestralDpm2(), 'dpmSolver2S, η = 1': dpmSolver2S({ eta: 1 }), 'dpmSolverSde': dpmSolverSde(),
}
const inTime: Readonly<Record<string, readonly [Sampler, number]>> = { 'eulerInTime': [eulerInTime(), 1], 'midpoint': [midpoint(), 2], 'heunInTime': [heunInTime(), 2], 'rk4': [rk4(), 4] }
const paths: readonly (readonly [string, NoisePath, (path: NoisePath, steps: number) => readonly HostLevel[]])[] = [
  ['`edmPath()`, `karras()`', edmPath(), (path, steps) => levels(path, steps, karras())],
  ['`discretePath(scaledLinearBetas())`, `trailing()`', discretePath(scaledLinearBetas()), (path, steps) => levels(path, steps)],
  ['`flowPath()`', flowPath(), (path, steps) => levels(path, steps)],
]
for (const [name, path, grid] of paths) {
  console.log(`\n| ${name} | ${questions.join(' | ')} |\n|---|${questions.map(() => '---:').join('|')}|`)
  const samplers = [...Object.entries(once).map(([label, sampler]) => [label, sampler, 1] as const), ...Object.entries(twice).map(([label, sampler]) => [label, sampler, 2] as const), ...Object.entries(inTime).map(([label, [sampler, asks]]) => [label, sampler, asks] as const), ['plms', plms(), 1] as const]
  for (const [label, sampler, asks] of samplers) {
    const cells: string[] = []
    for (const count of questions) {
      const steps = Math.floor((count + (asks > 1 ? 1 : 0)) / asks) // the last step asks once
      cells.push(steps < 2 ? '' : wasserstein(await outcome(sampler, path, grid(path, steps), data, device), data).toPrecision(2))
    }
    console.log(`| ${label} | ${cells.join(' | ')} |`)
  }
}
