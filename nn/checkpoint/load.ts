/** Values into variables by name: everything that does not fit is reported at once, and then nothing is loaded. */
import { CheckpointError, realize, tensor } from '../../engine/index.ts'
import type { DType, Shape, Variable } from '../../engine/index.ts'
import { leafTensor, toHostArray } from '../../engine/create.ts'
import { readData } from '../../engine/realize.ts'
import { formatShape, sameShape } from '../../engine/shape.ts'
import { converts, foreignDTypes } from './format.ts'
import type { HostTensor } from './format.ts'
import { openCheckpoint } from './open.ts'
import type { CheckpointLocation, OpenOptions } from './open.ts'
import type { Checkpoint } from './read.ts'

export interface LoadOptions {
  /** What the values come from, for errors. */
  readonly source?: string
  /** Only names that start with this are looked at; it is taken off. */
  readonly prefix?: string
  /** Default true: names on one side only are an error. */
  readonly strict?: boolean
}

/** The names that were on one side only, as they are in the checkpoint; both lists are empty where loading was strict. */
export interface Loaded {
  readonly missing: readonly string[]
  readonly unexpected: readonly string[]
}

/** What a checkpoint says of a tensor: `dtype` is undefined where there is none like it here. */
interface Described {
  readonly dtype: DType | undefined
  readonly shape: Shape
  readonly format?: string
}

/**
 * Assigns host tensors to the variables of the same names; the next realisation writes them. Floats of another width
 * are converted. Throws CheckpointError listing every missing, unexpected and mis-shaped name.
 */
export function loadVariables(variables: Readonly<Record<string, Variable>>, values: ReadonlyMap<string, HostTensor>, options: LoadOptions = {}): Loaded {
  const { targets, ...rest } = match(variables, values, options)
  for (const [name, variable] of targets) {
    const value = values.get(name)
    if (value !== undefined) variable.assign(tensor(value.data, variable.shape, { dtype: variable.dtype, device: variable.device }))
  }
  return rest
}

/** Values held back before they are written to their variables. */
const batchBytes = 2 ** 26

/**
 * Loads a checkpoint into the variables of the same names, tensor by tensor, so that memory for a few tensors is enough
 * however large the file. Floats of another width are converted. Before anything is loaded, throws CheckpointError
 * listing every missing, unexpected and mis-shaped name; where reading fails later, says how much was loaded.
 */
export async function loadCheckpoint(variables: Readonly<Record<string, Variable>>, from: CheckpointLocation | Checkpoint, { request, ...options }: LoadOptions & OpenOptions = {}): Promise<Loaded> {
  const checkpoint = isCheckpoint(from) ? from : await openCheckpoint(from, request === undefined ? {} : { request })
  const { targets, ...rest } = match(variables, checkpoint.tensors, { source: checkpoint.source, ...options })
  let batch: Variable[] = []
  let [bytes, loaded] = [0, 0]
  const write = async (): Promise<void> => {
    await realize(...batch)
    loaded += batch.length
    ;[batch, bytes] = [[], 0]
  }
  try {
    for await (const [name, value] of checkpoint.entries(targets.keys())) {
      const variable = targets.get(name)
      if (variable === undefined) continue
      assignOwn(variable, value)
      batch.push(variable)
      bytes += value.data.byteLength
      if (bytes >= batchBytes) await write()
    }
    if (batch.length > 0) await write()
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error
    throw new CheckpointError(`${error.message}. Only ${loaded} of ${targets.size} tensors were loaded`, { cause: error })
  }
  return rest
}

function isCheckpoint(from: CheckpointLocation | Checkpoint): from is Checkpoint {
  return typeof from === 'object' && 'entries' in from && 'tensors' in from
}

/** Without a copy of values that nobody else has. */
function assignOwn(variable: Variable, { dtype, data }: HostTensor): void {
  const fits = dtype === variable.dtype || (variable.dtype === 'f32' && data instanceof Float32Array)
  const values = fits ? data : toHostArray('loadCheckpoint', data, variable.dtype)
  variable.assign(leafTensor(variable.device, { kind: 'data', data: values }, variable.shape, variable.dtype))
}

/** The variable for each name of the checkpoint that has one. */
function match(variables: Readonly<Record<string, Variable>>, values: ReadonlyMap<string, Described>, { source = 'checkpoint', prefix = '', strict = true }: LoadOptions): Loaded & { readonly targets: ReadonlyMap<string, Variable> } {
  const wanted = new Map(Object.entries(variables).map(([name, variable]) => [prefix + name, variable]))
  const missing = [...wanted.keys()].filter((name) => !values.has(name))
  const unexpected = [...values.keys()].filter((name) => name.startsWith(prefix) && !wanted.has(name))
  const targets = new Map([...wanted].filter(([name]) => values.has(name)))
  const misfits = [...targets].flatMap(([name, variable]) => {
    const { dtype, shape, format = '' }: Described = values.get(name) ?? variable
    if (sameShape(shape, variable.shape) && dtype !== undefined && converts(dtype, variable.dtype)) return []
    const why = foreignDTypes.get(format)?.why
    return [`${name} is ${dtype ?? format} ${formatShape(shape)} but the model has ${variable.dtype} ${formatShape(variable.shape)}${why === undefined ? '' : ` (${why})`}`]
  })
  const problems = [
    ...(strict && missing.length > 0 ? [`missing: ${missing.join(', ')}`] : []),
    ...(strict && unexpected.length > 0 ? [`unexpected: ${unexpected.join(', ')}`] : []),
    ...(misfits.length > 0 ? [`of another shape or type: ${misfits.join('; ')}`] : []),
  ]
  if (problems.length > 0) throw new CheckpointError(`${source} does not fit the model. ${problems.join('. ')}. Load it into the model it was saved from, or pass { strict: false } to load what fits`)
  return { targets, missing, unexpected }
}

/** The present values of variables, on the host, under `prefix` and their names. */
export async function readVariables(variables: Readonly<Record<string, Variable>>, prefix = ''): Promise<Map<string, HostTensor>> {
  const read = Object.entries(variables).map(async ([name, variable]): Promise<[string, HostTensor]> => [prefix + name, { dtype: variable.dtype, shape: variable.shape, data: await readData(variable) }])
  return new Map(await Promise.all(read))
}
