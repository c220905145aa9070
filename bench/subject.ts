/**
 * What is measured: a name that says shapes, the work that it takes at least, and a function that records the graph of
 * one call. `torch_peer.py` reads the same names and does the same work.
 */
import { realize } from '../engine/index.ts'
import type { Device, Tensor } from '../engine/index.ts'

export interface Prepared {
  /** Multiplications and additions of one call. */
  readonly flops: number
  /** Bytes that one call has to read and write if everything that can be fused is. */
  readonly bytes: number
  /** Scalars in the parameters of a model. */
  readonly parameters?: number
  /** Records one call, gradients and updates included, and returns its outputs. */
  readonly record: () => readonly Tensor[]
}

export interface Subject {
  readonly name: string
  /** Puts the inputs on the device. */
  readonly prepare: (device: Device) => Promise<Prepared> | Prepared
}

/** One call: recorded, differentiated, computed; the outputs' memory is given back. */
export async function call(record: Prepared['record']): Promise<void> {
  const outputs = record()
  await realize(...outputs)
  for (const output of outputs) output.dispose()
}
