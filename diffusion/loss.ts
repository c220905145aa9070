/** The training objective: E ‖network(x_t, t) − target‖² (Ho et al., arXiv:2006.11239, eq. 14, for target ε). */
import { refuseOthers } from '../engine/error.ts'
import { ConfigError, cast, indexSelect, mean, mul, reshape, sub, tensor } from '../engine/index.ts'
import type { Tensor, TensorLike } from '../engine/index.ts'
import { at } from '../engine/shape.ts'
import type { Conditions, Network } from './denoiser.ts'
import { addNoise, epsPrediction } from './parameterization.ts'
import type { Parameterization } from './parameterization.ts'
import type { HostLevel, Level, NoisePath } from './paths/path.ts'

/** The levels of integer timesteps t [B], with α and σ shaped [B, 1, …] to broadcast over tensors of `rank` axes. Throws ConfigError for a path that does not count timesteps. */
export function levelsAt(path: NoisePath, t: TensorLike, rank: number): Level & { readonly t: Tensor } {
  const { timesteps } = path
  if (timesteps === undefined) throw new ConfigError(`levelsAt: ${path.name} does not count timesteps; take its levels on the host`)
  const column = [at(t.shape, 0), ...new Array<number>(rank - 1).fill(1)]
  const table = (factor: (level: HostLevel) => number): Tensor => tensor(Float32Array.from({ length: timesteps }, (_, i) => factor(path.at(i))), null, { device: t.device })
  const pick = (factor: (level: HostLevel) => number): Tensor => reshape(indexSelect(table(factor), t, 0), column)
  return { t: cast(t, 'f32'), alpha: pick(({ alpha }) => alpha), sigma: pick(({ sigma }) => sigma) }
}

export interface DiffusionLossOptions<C extends Conditions> {
  readonly path: NoisePath
  /** Timesteps, i32 [B]. */
  readonly t: TensorLike
  /** Standard normal noise in the shape of the images. */
  readonly eps: TensorLike
  /** What the network is to say; default ε. */
  readonly parameterization?: Parameterization
  readonly conditions?: C
}

/** The mean squared error over all elements, []. x0 [B, …]: clean images, in [-1, 1]. */
export function diffusionLoss<C extends Conditions>(network: Network<C>, x0: TensorLike, { path, t, eps, parameterization = epsPrediction(), conditions = {} as C, ...others }: DiffusionLossOptions<C>): Tensor {
  refuseOthers('diffusionLoss', others)
  const level = levelsAt(path, t, x0.shape.length)
  const x = addNoise(x0, eps, level)
  const scale = parameterization.input?.(level) ?? 1
  const time = parameterization.time(level)
  if (typeof time === 'number') throw new ConfigError(`diffusionLoss: ${parameterization.name} tells the network the same time ${time} of every image; give a time that depends on the level`)
  const said = network(scale === 1 ? x : mul(x, scale), reshape(time, [at(t.shape, 0)]), conditions)
  const error = sub(said, parameterization.target(x0, eps, level))
  return mean(mul(error, error))
}
