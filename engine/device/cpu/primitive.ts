/** The primitives the CPU has hand-written kernels for. */
import { mapKernel } from '../../../kernels/wasm/map.ts'
import { index } from '../../../kernels/expression.ts'
import { packed } from './layouts.ts'
import type { HandWritten, KernelRule } from './rule.ts'

const iota: KernelRule = {
  layouts: packed,
  kernel: ({ outputs: [y] }) => mapKernel({ shape: y?.shape ?? [], inputs: [], outputs: [{ operand: { dtype: 'i32', strides: [1], offset: 0 }, value: index(0) }] }),
}

export const primitiveRules: Partial<Readonly<Record<HandWritten, KernelRule>>> = { iota }
