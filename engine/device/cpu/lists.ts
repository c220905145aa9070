/** The ops over lists of tensors: one launch each, which finds its tensors through pointers. */
import { adamwKernel } from '../../../kernels/wasm/optim/adamw.ts'
import type { WasmKernel, WasmTarget } from '../../../kernels/wasm/core/kernel.ts'
import { squaredNormKernel } from '../../../kernels/wasm/optim/squaredNorm.ts'
import { updatedInput } from '../../ops/optimizer.ts'
import type { AdamWAttributes } from '../../ops/optimizer.ts'
import { at, sizeOf } from '../../shape.ts'
import { packed } from '../rules/layouts.ts'
import type { KernelRule } from '../rules/rule.ts'

/** The op lists all p, then all g, m, v; the kernel takes them tensor by tensor. */
export const adamw: KernelRule<WasmKernel, WasmTarget> = {
  accepts: () => true,
  layouts(step) {
    const { count } = step.attributes as AdamWAttributes
    const gradient = (output: number): number => 1 + count + (output % count)
    return { ...packed(step), inPlace: (output, input) => input === updatedInput(output, count) || input === gradient(output) }
  },
  kernel: ({ inputs, step }) => {
    const { count, ema } = step.attributes as AdamWAttributes
    return adamwKernel({ sizes: inputs.slice(1, 1 + count).map((v) => sizeOf(v.shape)), ema })
  },
  operands([numbers, ...lists], outputs, step) {
    const { count } = step.attributes as AdamWAttributes
    const byTensor = <T>(list: readonly T[]): T[] => Array.from({ length: count }, (_, i) => Array.from({ length: list.length / count }, (__, k) => at(list, k * count + i))).flat()
    return numbers === undefined ? [] : [numbers, ...byTensor(lists), ...byTensor(outputs)]
  },
}

export const squaredNorm: KernelRule<WasmKernel, WasmTarget> = {
  accepts: () => true,
  layouts: packed,
  kernel: ({ inputs }) => squaredNormKernel({ sizes: inputs.map((v) => sizeOf(v.shape)) }),
}
