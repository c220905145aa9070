/** What optimisers and averages move: variables by name, of one floating type and on one device. */
import { ConfigError, DTypeError, DeviceError } from '../../engine/index.ts'
import type { DType, Device, Variable } from '../../engine/index.ts'

export type NamedVariables = Readonly<Record<string, Variable>>

type Listed = readonly (readonly [name: string, parameter: Variable])[]

/** The same list. Throws ConfigError naming those that are not trained: buffers, and what is frozen. */
export function trainable(owner: string, parameters: Listed): Listed {
  const others = parameters.filter(([, parameter]) => !parameter.trainable).map(([name]) => name)
  if (others.length > 0) throw new ConfigError(`${owner}: ${others.join(', ')} cannot be trained (a buffer, or frozen); pass namedParameters(model)`)
  return parameters
}

/**
 * The type and device that they share. Throws ConfigError for none, for one that is listed twice, and for two of one name; DTypeError and
 * DeviceError where they differ, and for half floats, which lose small steps.
 */
export function common(owner: string, parameters: Listed): { readonly dtype: DType; readonly device: Device } {
  const [first] = parameters
  if (first === undefined) throw new ConfigError(`${owner}: there are no parameters; pass namedParameters(model)`)
  const [name, { device, dtype }] = first
  const [seen, names] = [new Map<Variable, string>(), new Set<string>()]
  for (const [key, p] of parameters) {
    const twin = seen.get(p)
    if (twin !== undefined) throw new ConfigError(`${owner}: parameter ${twin} is listed again as ${key}; list each once, in one group`)
    if (names.has(key)) throw new ConfigError(`${owner}: two parameters are called ${key}; give them prefixes, as in namedParameters(model.encoder, 'encoder.')`)
    seen.set(p, key)
    names.add(key)
    if (p.dtype !== 'f32' && p.dtype !== 'f64') throw new DTypeError(`${owner}: parameter ${key} is ${p.dtype}; keep parameters in f32, and cast them where they are used`)
    if (p.dtype !== dtype) throw new DTypeError(`${owner}: parameter ${name} is ${dtype} but ${key} is ${p.dtype}; keep them in one type`)
    if (p.device !== device) throw new DeviceError(`${owner}: parameter ${name} lives on ${device.nameBeside(p.device)} but ${key} on ${p.device.nameBeside(device)}; move one with .to(device)`)
  }
  return { dtype, device }
}
