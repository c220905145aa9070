/**
 * Mixed precision (Micikevicius et al., arXiv:1710.03740): products in a half type, with weights, accumulation, norms,
 * softmax, loss and optimiser in f32. The policy stands around a module, and what it does is casts in the graph.
 */
import { ConfigError, add, cast, greaterEqual, isFinite, less, logicalAnd, mul, tensor, variable, where } from '../engine/index.ts'
import type { Device, Tensor, TensorLike, Variable } from '../engine/index.ts'
import { refuseOthers } from '../engine/error.ts'
import { isTensorLike } from '../engine/variable.ts'
import { loadCheckpoint, loadVariables } from './checkpoint/load.ts'
import type { LoadOptions, Loaded } from './checkpoint/load.ts'
import type { CheckpointLocation, OpenOptions } from './checkpoint/open.ts'
import type { HostTensor } from './checkpoint/format.ts'
import type { Checkpoint } from './checkpoint/read.ts'
import { Module, isPlainObject } from './module.ts'

export type HalfType = 'f16' | 'bf16'

/**
 * Has a module and all inside it multiply in `type`: linear layers, convolutions, matmul and attention take their f32
 * operands in it and give results in it, which is also what lies in memory until the backward; norms and other layers keep
 * the type of their input and compute in f32. Floats that the module returns, alone or in arrays and plain objects, come
 * out as f32, for the loss; what an instance of a class holds stays as it is. Weights stay f32, and so do their gradients.
 * `f32` keeps a part out of the policy around it. Returns what takes the policy away. Calls throw DTypeError on a device without the type.
 */
export function mixedPrecision<Arguments extends readonly [TensorLike, ...unknown[]], Result>(module: Module<Arguments, Result>, type: HalfType | 'f32'): () => void {
  return Module.wrap(module, (forward, ...inputs) => {
    const half = type === 'f32' ? undefined : type
    const result = inputs[0].device.withProductType(half, () => forward(...inputs))
    return half === undefined ? result : widened(result, half)
  })
}

/** A result with its tensors of the half type as f32, in arrays and plain objects too. */
function widened<Result>(result: Result, type: HalfType): Result {
  const widen = (x: unknown): unknown => {
    if (isTensorLike(x)) return x.dtype === type ? cast(x, 'f32') : x
    if (Array.isArray(x)) return x.map(widen)
    if (isPlainObject(x)) return Object.fromEntries(Object.entries(x).map(([key, value]) => [key, widen(value)]))
    return x
  }
  return widen(result) as Result
}

export interface LossScalerOptions {
  /** Default: the default device. */
  readonly device?: Device
  /** Default 65536. */
  readonly initialScale?: number
  /** Multiplies the scale after `growthInterval` finite steps in a row. Default 2. */
  readonly growthFactor?: number
  /** Multiplies the scale after a step that is not finite. Default 0.5. */
  readonly backoffFactor?: number
  /** Default 2000. */
  readonly growthInterval?: number
}

/**
 * Dynamic loss scaling, with the numbers of PyTorch's GradScaler: the loss is multiplied so that small gradients survive in
 * f16, and the factor follows what the gradients bear. It lives on the device, so no step waits for the host.
 *
 *     const { value, grads } = valueAndGrad(scaler.scale(loss), parameters)
 *     scaler.update(optimizer.update(grads, { lossScale: scaler.factor }))
 */
export class LossScaler {
  /** What the loss is multiplied by. f32 []. */
  readonly factor: Variable
  /** Finite steps since the factor last changed. i32 []. */
  readonly steady: Variable
  readonly #options: Required<Omit<LossScalerOptions, 'device' | 'initialScale'>>

  /** Throws ConfigError for factors that do not grow or shrink. */
  constructor({ device, initialScale = 65536, growthFactor = 2, backoffFactor = 0.5, growthInterval = 2000, ...others }: LossScalerOptions = {}) {
    refuseOthers('LossScaler', others)
    if (!(initialScale > 0 && Number.isFinite(initialScale))) throw new ConfigError(`LossScaler: initialScale is ${initialScale}; use a positive number`)
    if (!(growthFactor >= 1 && Number.isFinite(growthFactor))) throw new ConfigError(`LossScaler: growthFactor is ${growthFactor}; use a number of at least 1`)
    if (!(backoffFactor > 0 && backoffFactor < 1)) throw new ConfigError(`LossScaler: backoffFactor is ${backoffFactor}; use a number between 0 and 1`)
    if (!(Number.isInteger(growthInterval) && growthInterval > 0)) throw new ConfigError(`LossScaler: growthInterval is ${growthInterval}; use a positive integer`)
    const place = device === undefined ? {} : { device }
    this.factor = variable(tensor(Float32Array.of(initialScale), [], place), { name: 'scale' })
    this.steady = variable(tensor(Int32Array.of(0), [], place), { name: 'growth_tracker' })
    this.#options = { growthFactor, backoffFactor, growthInterval }
  }

  /** loss · factor. */
  scale(loss: TensorLike): Tensor {
    return mul(loss, this.factor)
  }

  /** Moves the factor by whether the step was finite, as its gradients' norm [] says; the next realisation computes it. */
  update(norm: TensorLike): void {
    const { growthFactor, backoffFactor, growthInterval } = this.#options
    const finite = isFinite(norm)
    const next = add(this.steady, 1)
    const grown = mul(this.factor, growthFactor)
    const grows = logicalAnd(greaterEqual(next, growthInterval), isFinite(grown)) // Beyond the largest f32 nothing grows.
    this.factor.assign(where(finite, where(grows, grown, this.factor), mul(this.factor, backoffFactor)))
    this.steady.assign(where(logicalAnd(finite, less(next, growthInterval)), next, 0))
  }

  /** Its state under `prefix` and the names of GradScaler. */
  stateDict(prefix = ''): Record<string, Variable> {
    return { [`${prefix}scale`]: this.factor, [`${prefix}growth_tracker`]: this.steady }
  }

  /** Goes on from a checkpoint that holds the state dict; a prefix is an option. Throws CheckpointError where it does not fit. */
  async load(from: CheckpointLocation | Checkpoint, options: LoadOptions & OpenOptions = {}): Promise<Loaded> {
    return loadCheckpoint(this.stateDict(), from, options)
  }

  /** Goes on from the values of a state dict, which the next realisation writes. Throws CheckpointError where they do not fit. */
  loadStateDict(values: ReadonlyMap<string, HostTensor>, options: LoadOptions = {}): void {
    loadVariables(this.stateDict(), values, options)
  }
}
