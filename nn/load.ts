/** Values into variables by name: everything that does not fit is reported at once, and then nothing is loaded. */
import { CheckpointError, tensor } from '../engine/index.ts'
import type { TypedArray, Variable } from '../engine/index.ts'
import { isFloat } from '../engine/dtype.ts'
import { readData } from '../engine/realize.ts'
import { formatShape, sameShape } from '../engine/shape.ts'
import type { HostTensor } from './safetensors.ts'

export interface LoadOptions {
  /** What the values come from, for errors. */
  readonly source?: string
  /** Only names that start with this are looked at; it is taken off. */
  readonly prefix?: string
  /** Default true: names on one side only are an error. */
  readonly strict?: boolean
}

/**
 * Assigns host tensors to the variables of the same names; the next realisation writes them. Floats of another width
 * are converted. Throws CheckpointError listing every missing, unexpected and mis-shaped name.
 */
export function loadVariables(variables: Readonly<Record<string, Variable>>, values: ReadonlyMap<string, HostTensor>, { source = 'checkpoint', prefix = '', strict = true }: LoadOptions = {}): void {
  const given = new Map([...values].filter(([name]) => name.startsWith(prefix)).map(([name, value]) => [name.slice(prefix.length), value]))
  const missing = Object.keys(variables).filter((name) => !given.has(name))
  const unexpected = [...given.keys()].filter((name) => !Object.hasOwn(variables, name))
  const pairs = Object.entries(variables).flatMap(([name, variable]) => {
    const value = given.get(name)
    return value === undefined ? [] : [{ name, variable, value }]
  })
  const misfits = pairs.filter(({ variable, value }) => !fits(variable, value)).map(({ name, variable, value }) => `${name} is ${value.dtype} ${formatShape(value.shape)} but the model has ${variable.dtype} ${formatShape(variable.shape)}`)
  const problems = [
    ...(strict && missing.length > 0 ? [`missing: ${missing.map((n) => prefix + n).join(', ')}`] : []),
    ...(strict && unexpected.length > 0 ? [`unexpected: ${unexpected.map((n) => prefix + n).join(', ')}`] : []),
    ...(misfits.length > 0 ? [`of another shape or type: ${misfits.join('; ')}`] : []),
  ]
  if (problems.length > 0) throw new CheckpointError(`${source} does not fit the model. ${problems.join('. ')}. Load it into the model it was saved from, or pass { strict: false } to load what fits`)
  for (const { variable, value } of pairs) variable.assign(tensor(value.data, variable.shape, { dtype: variable.dtype, device: variable.device }))
}

function fits(variable: Variable, value: HostTensor): boolean {
  return sameShape(variable.shape, value.shape) && (variable.dtype === value.dtype || (isFloat(variable.dtype) && isFloat(value.dtype)))
}

/** The present values of variables, on the host, under `prefix` and their names. */
export async function readVariables(variables: Readonly<Record<string, Variable>>, prefix = ''): Promise<Map<string, HostTensor>> {
  const read = Object.entries(variables).map(async ([name, variable]): Promise<[string, HostTensor]> => {
    const data: TypedArray = await readData(variable)
    return [prefix + name, { dtype: variable.dtype, shape: variable.shape, data }]
  })
  return new Map(await Promise.all(read))
}
