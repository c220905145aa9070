/** 0, 1, 2, …: the primitive behind ranges, masks and positions. */
import type { Device } from '../device/device.ts'
import type { Tensor } from '../graph.ts'
import { applyOn } from '../op.ts'
import type { Primitive } from '../op.ts'

export const iotaOp: Primitive<readonly [], { size: number }, 'iota'> = {
  kind: 'primitive',
  name: 'iota',
  shape: (_, { size }) => ({ shape: [size], dtype: 'i32' }),
}

/** The i32 tensor [0, 1, …, size − 1]. */
export function iota(device: Device, size: number): Tensor {
  return applyOn(device, iotaOp, { size })
}
