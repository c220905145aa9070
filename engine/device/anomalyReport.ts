/** What the trap for NaN says: which launch was the first to write one, and whether it was given one. */
import { DeviceError } from '../error.ts'
import type { DeviceKind } from './backend.ts'

export interface Findings {
  readonly device: DeviceKind
  readonly infinities: boolean
  /** What was run, in order: the values that each read, by number, and whether one was found in what it wrote. */
  readonly steps: readonly { readonly op: string; readonly path: string; readonly reads: readonly number[]; readonly found: boolean }[]
  /** The leaves that held one before the run, with their names. */
  readonly leaves: ReadonlyMap<number, string>
}

/** The error to end a run with, if something was found. Nothing that the first launch read was written by one with a NaN before it. */
export function anomalyIn({ device, infinities, steps, leaves }: Findings): DeviceError | undefined {
  const first = steps.findIndex(({ found }) => found)
  const step = steps[first]
  if (step === undefined) return undefined
  const what = infinities ? 'a NaN or an infinity' : 'a NaN'
  const { op, path } = step
  const where = `step ${first}, ${op}${path === '' ? '' : ` in ${path}`},`
  const given = step.reads.flatMap((value) => leaves.get(value) ?? [])
  if (given.length === 0) return new DeviceError(`${device}: ${where} made ${what} of inputs that had none`)
  return new DeviceError(`${device}: ${given[0]} held ${what} before the run; ${where} was the first to read it and pass it on`)
}
