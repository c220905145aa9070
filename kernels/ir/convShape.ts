/** Positions and costs of convolutions. */
import type { ConvDescriptor } from './descriptor.ts'
import { product } from './domain.ts'

/** Every position of a box, row by row. */
export function boxPositions(sizes: readonly number[]): number[][] {
  return sizes.reduce<number[][]>((outer, size) => outer.flatMap((p) => Array.from({ length: size }, (_, i) => [...p, i])), [[]])
}

export const dot = (x: readonly number[], y: readonly number[]): number => x.reduce((sum, v, i) => sum + v * (y[i] ?? 0), 0)

export const convFlops = (d: ConvDescriptor): number => 2 * d.batch * product(d.output) * d.outChannels * (d.inChannels / d.groups) * product(d.kernel)

/** Bytes of all operands, each once. */
export function convBytes(d: ConvDescriptor): number {
  const x = d.batch * d.inChannels * product(d.input)
  const y = d.batch * d.outChannels * product(d.output)
  const w = d.outChannels * (d.inChannels / d.groups) * product(d.kernel)
  return 4 * (x + y + w)
}
