/** Another process of sample.test.ts: goes on from each of the states in its argument, and prints the images. */
import { add, device, mul } from '../../engine/index.ts'
import { discretePath, dpmSolver3M, levels, loadState, sample, scaledLinearBetas } from '../../diffusion/index.ts'
import type { Denoiser, SavedState } from '../../diffusion/index.ts'
import { Prediction } from '../../diffusion/prediction.ts'

const path = discretePath(scaledLinearBetas())
const denoise: Denoiser = (x, { alpha, sigma, t }) => {
  const total = (alpha * 0.5) ** 2 + sigma ** 2
  return Prediction.ofImage(add(mul(x, (alpha * 0.5 ** 2) / total), (0.4 * sigma ** 2) / total), x, { t, alpha, sigma })
}
const cpu = await device('cpu')
const images: number[][] = []
for (const saved of JSON.parse(process.argv[2] ?? '[]') as SavedState[]) {
  const x = await sample(denoise, { path, levels: levels(path, 6), sampler: dpmSolver3M({ eta: 1 }), shape: [3], seeds: [7, 8], device: cpu, from: await loadState(saved, { device: cpu }) })
  images.push([...(await x.data())])
}
console.log(JSON.stringify(images))
await cpu.close()
