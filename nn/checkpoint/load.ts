/** Values into variables by name: everything that does not fit is reported at once, and then nothing is loaded. */
import { CheckpointError, tensor } from '../../engine/index.ts'
import type { DType, Shape, TypedArray, Variable } from '../../engine/index.ts'
import { refuseOthers } from '../../engine/error.ts'
import { toHostArray } from '../../engine/create.ts'
import { byteSize } from '../../engine/dtype.ts'
import { readData } from '../../engine/realize.ts'
import { formatShape, sameShape } from '../../engine/shape.ts'
import { writeVariable } from '../../engine/write.ts'
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
  /** Default true: names on one side only are an error, which tells of this option unless it was given. */
  readonly strict?: boolean
}

/**
 * The names that were on one side only, as they are in the checkpoint; both lists are empty where loading was strict. Of
 * a tied variable, which has several names, one in the checkpoint is enough.
 */
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
 * are converted. Throws CheckpointError listing every missing, unexpected and mis-shaped name, and where two names of one
 * variable have different values.
 */
export function loadVariables(variables: Readonly<Record<string, Variable>>, values: ReadonlyMap<string, HostTensor>, options: LoadOptions = {}): Loaded {
  checkOptions('loadVariables', options)
  const { targets, twins, ...rest } = match(variables, values, options)
  for (const [one, other] of twins) checkSame(options.source, one, other)
  for (const { variable, value } of targets) variable.assign(tensor(value.data, variable.shape, { dtype: variable.dtype, device: variable.device }))
  return rest
}

/**
 * Loads a checkpoint into the variables of the same names, tensor by tensor, straight into their memory, so that memory for
 * a few tensors is enough however large the file. Floats of another width are converted. Before anything is loaded, throws CheckpointError
 * listing every missing, unexpected and mis-shaped name, or where two names of one variable have different values; where
 * reading fails later, says how much was loaded.
 */
export async function loadCheckpoint(variables: Readonly<Record<string, Variable>>, from: CheckpointLocation | Checkpoint, { request, verify = true, ...options }: LoadOptions & OpenOptions = {}): Promise<Loaded> {
  checkOptions('loadCheckpoint', options)
  const checkpoint = isCheckpoint(from) ? from : await openCheckpoint(from, { verify, ...(request && { request }) })
  const { source = checkpoint.source } = options
  const { targets, twins, ...rest } = match(variables, checkpoint.tensors, { ...options, source })
  for (const [{ name }, { name: other }] of twins) checkSame(source, { name, value: await checkpoint.read(name) }, { name: other, value: await checkpoint.read(other) })
  const variablesByName = new Map(targets.map(({ name, variable }) => [name, variable]))
  const bits = new Set(targets.flatMap(({ name, variable, value }) => (variable.dtype === value.dtype && byteSize(value.dtype) === 2 ? [name] : [])))
  let loaded = 0
  try {
    for await (const [name, value] of checkpoint.entries(variablesByName.keys(), bits)) {
      const variable = variablesByName.get(name)
      if (variable === undefined) continue
      await writeVariable(variable, bits.has(name) ? halvesOf(value) : hostValues(variable, value))
      loaded++
    }
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error
    throw new CheckpointError(`${error.message}. Only ${loaded} of ${targets.length} tensors were loaded`, { cause: error })
  }
  return rest
}

function checkOptions(op: string, { source: _, prefix: __, strict: ___, ...others }: LoadOptions): void {
  refuseOthers(op, others)
}

function isCheckpoint(from: CheckpointLocation | Checkpoint): from is Checkpoint {
  return typeof from === 'object' && 'entries' in from && 'tensors' in from
}

const halvesOf = ({ data: { buffer, byteOffset, byteLength } }: HostTensor): Uint16Array<ArrayBuffer> => new Uint16Array(buffer, byteOffset, byteLength / 2)

/** As the host holds a variable's values; without a copy where they are so already. */
function hostValues(variable: Variable, { dtype, data }: HostTensor): TypedArray {
  const fits = dtype === variable.dtype || (variable.dtype === 'f32' && data instanceof Float32Array)
  return fits ? data : toHostArray('loadCheckpoint', data, variable.dtype)
}

/** A tensor of the checkpoint that a variable has the name of. */
interface Target<T> {
  readonly name: string
  readonly variable: Variable
  readonly value: T
}

interface Match<T> extends Loaded {
  /** One for each variable that is in the checkpoint. */
  readonly targets: readonly Target<T>[]
  /** Of tied variables: the one in `targets`, and another under a further name. */
  readonly twins: readonly (readonly [Target<T>, Target<T>])[]
}

function match<T extends Described>(variables: Readonly<Record<string, Variable>>, values: ReadonlyMap<string, T>, { source = 'checkpoint', prefix = '', strict }: LoadOptions): Match<T> {
  const wanted = new Map(Object.entries(variables).map(([name, variable]) => [prefix + name, variable]))
  const present = [...wanted].flatMap(([name, variable]) => {
    const value = values.get(name)
    return value === undefined ? [] : [{ name, variable, value }]
  })
  const targets = new Map<Variable, Target<T>>()
  const twins: [Target<T>, Target<T>][] = []
  for (const target of present) {
    const first = targets.get(target.variable)
    if (first === undefined) targets.set(target.variable, target)
    else twins.push([first, target])
  }
  const missing = [...wanted].flatMap(([name, variable]) => (targets.has(variable) ? [] : [name]))
  const unexpected = [...values.keys()].filter((name) => name.startsWith(prefix) && !wanted.has(name))
  const misfits = present.flatMap(({ name, variable, value: { dtype, shape, format = '' } }) => {
    if (sameShape(shape, variable.shape) && dtype !== undefined && converts(dtype, variable.dtype)) return []
    const why = foreignDTypes.get(format)?.why
    return [`${name} is ${dtype ?? format} ${formatShape(shape)} but the model has ${variable.dtype} ${formatShape(variable.shape)}${why === undefined ? '' : ` (${why})`}`]
  })
  const problems = [
    ...(strict !== false && missing.length > 0 ? [`missing: ${missing.join(', ')}`] : []),
    ...(strict !== false && unexpected.length > 0 ? [`unexpected: ${unexpected.join(', ')}`] : []),
    ...(misfits.length > 0 ? [`of another shape or type: ${misfits.join('; ')}`] : []),
  ]
  const hint = strict === undefined && misfits.length === 0 ? ', or pass { strict: false } to load what fits' : ''
  if (problems.length > 0) throw new CheckpointError(`${source} does not fit the model. ${problems.join('. ')}. Load it into the model it was saved from${hint}`)
  return { targets: [...targets.values()], twins, missing, unexpected }
}

/** Two names of one variable stand for the same values, bit for bit: of others, which are meant is not known. */
function checkSame(source = 'checkpoint', one: Pick<Target<HostTensor>, 'name' | 'value'>, other: Pick<Target<HostTensor>, 'name' | 'value'>): void {
  const [x, y] = [bytesOf(one.value), bytesOf(other.value)]
  if (one.value.dtype === other.value.dtype && x.length === y.length && x.every((byte, i) => byte === y[i])) return
  throw new CheckpointError(`${source} has different values for ${one.name} and ${other.name}, which are one variable in the model; which are meant is not known. Load it into a model where they are two, or leave one of the names out of what is loaded`)
}

function bytesOf({ data: { buffer, byteOffset, byteLength } }: HostTensor): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** The present values of variables, on the host, under `prefix` and their names. */
export async function readVariables(variables: Readonly<Record<string, Variable>>, prefix = ''): Promise<Map<string, HostTensor>> {
  const read = Object.entries(variables).map(async ([name, variable]): Promise<[string, HostTensor]> => [prefix + name, { dtype: variable.dtype, shape: variable.shape, data: await readData(variable) }])
  return new Map(await Promise.all(read))
}
