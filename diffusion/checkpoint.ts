/** The file of a training run, as safetensors: variables and history as tensors, the rest as metadata. */
import { CheckpointError } from '../engine/index.ts'
import type { RandomGeneratorState } from '../engine/index.ts'
import type { HostTensor } from '../nn/checkpoint/format.ts'
import { decodeSafetensors } from '../nn/checkpoint/read.ts'
import { encodeSafetensors } from '../nn/checkpoint/write.ts'

const format = 'langevin-training'
const version = '3'
/** Without digests, else the same. */
const undigested = '2'

export interface TrainingCheckpoint {
  readonly step: number
  /** One value per step. */
  readonly history: { readonly loss: readonly number[]; readonly norm: readonly number[] }
  readonly generator: RandomGeneratorState
  /** The device's own, from which layers such as dropout draw. */
  readonly deviceGenerator: RandomGeneratorState
  /** Of the device that computed it. */
  readonly fingerprint: string
  /** The caller's, such as a configuration. */
  readonly notes: Readonly<Record<string, string>>
  readonly variables: ReadonlyMap<string, HostTensor>
}

const series = (values: readonly number[]): HostTensor => ({ dtype: 'f32', shape: [values.length], data: Float32Array.from(values) })

/** The file's bytes. Equal states give equal bytes. */
export function encodeTraining({ step, history, generator, deviceGenerator, fingerprint, notes, variables }: TrainingCheckpoint): Uint8Array<ArrayBuffer> {
  const tensors = new Map([...variables, ['history.loss', series(history.loss)], ['history.norm', series(history.norm)]])
  return encodeSafetensors(tensors, { format, version, state: JSON.stringify({ step, generator, deviceGenerator, fingerprint, notes }) })
}

/** Reads a whole file; `source` names it in errors. Throws CheckpointError for one that is damaged or of another kind. */
export function decodeTraining(bytes: Uint8Array<ArrayBuffer>, source: string): TrainingCheckpoint {
  const { tensors, metadata, verified } = decodeSafetensors(bytes, source)
  const { format: kind = 'not given', version: made = 'not given' } = metadata
  if (kind !== format) throw new CheckpointError(`${source} is a safetensors file, but not of a training run (its format is ${kind}); pass a checkpoint that langevin train wrote`)
  if (made !== version && made !== undigested) throw new CheckpointError(`${source} is of version ${made}, but this program reads version ${version}; use the program that wrote it`)
  const damaged = (what: string): never => {
    throw new CheckpointError(`${source} has no valid ${what}; the file is damaged`)
  }
  if (!verified && made === version) damaged('digests')
  const count = (value: unknown, what: string): number => (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : damaged(what))
  const words = (value: unknown, what: string): [number, number] => {
    const [low, high, ...rest] = asList(value)
    return rest.length === 0 ? [count(low, what), count(high, what)] : damaged(what)
  }
  const text = (value: unknown, what: string): string => (typeof value === 'string' ? value : damaged(what))
  const state = parseRecord(metadata['state']) ?? damaged('state')
  const drawn = (name: string, what: string): RandomGeneratorState => {
    const found = asRecord(state[name]) ?? damaged(`${what} state`)
    return { key: words(found['key'], `${what} key`), counter: words(found['counter'], `${what} counter`) }
  }
  const generators = { generator: drawn('generator', 'generator'), deviceGenerator: drawn('deviceGenerator', 'device generator') }
  const notes = asRecord(state['notes']) ?? damaged('notes')
  const step = count(state['step'], 'step')
  const list = (name: string): number[] => {
    const values = tensors.get(name)
    return values?.dtype === 'f32' && values.shape.length === 1 && values.data.length === step ? [...values.data] : damaged(name)
  }
  return {
    step,
    history: { loss: list('history.loss'), norm: list('history.norm') },
    ...generators,
    fingerprint: text(state['fingerprint'], 'device'),
    notes: Object.fromEntries(Object.entries(notes).map(([key, value]) => [key, text(value, `note ${key}`)])),
    variables: new Map([...tensors].filter(([name]) => !name.startsWith('history.'))),
  }
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
}

/** The object that a JSON text is. */
function parseRecord(text: string | undefined): Record<string, unknown> | undefined {
  try {
    return asRecord(JSON.parse(text ?? ''))
  } catch {
    return undefined
  }
}
