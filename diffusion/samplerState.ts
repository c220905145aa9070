/** A sampler's state off the device, so that a run goes on in another process. */
import { refuseOthers } from '../engine/error.ts'
import { realize, tensor } from '../engine/index.ts'
import type { Device, Shape, Tensor } from '../engine/index.ts'
import type { SamplerState } from './samplers/sampler.ts'

interface HostTensor {
  readonly shape: Shape
  readonly values: readonly number[]
}

/** Plain data: JSON keeps every bit of it. */
export interface SavedState {
  readonly step: number
  readonly numbers: Readonly<Record<string, number>>
  readonly x: HostTensor
  readonly memory: Readonly<Record<string, HostTensor>>
}

const saved = async (x: Tensor): Promise<HostTensor> => ({ shape: x.shape, values: Array.from(await x.data(), Number) })

/** What `onStep` is given, as plain data that stays when the run goes on. */
export async function saveState({ step, numbers, x, memory }: SamplerState): Promise<SavedState> {
  const [image, ...kept] = await Promise.all([x, ...Object.values(memory)].map(saved))
  return { step, numbers, x: image ?? { shape: [], values: [] }, memory: Object.fromEntries(Object.keys(memory).map((name, i) => [name, kept[i] ?? { shape: [], values: [] }])) }
}

/** The state again, in f32, for `sample({ from })`: the run goes on bit for bit, given the same levels, sampler and seeds. Dispose of its tensors after the run. */
export async function loadState({ step, numbers, x, memory }: SavedState, { device, ...others }: { readonly device?: Device } = {}): Promise<SamplerState> {
  refuseOthers('loadState', others)
  const loaded = ({ shape, values }: HostTensor): Tensor => tensor(Float32Array.from(values), shape, device === undefined ? {} : { device })
  const state = { step, numbers, x: loaded(x), memory: Object.fromEntries(Object.entries(memory).map(([name, held]) => [name, loaded(held)])) }
  await realize(state.x, ...Object.values(state.memory))
  return state
}
